//! Sessions over `/v1/acp` are loaded, cancelled, closed and deleted as the protocol says.

use serde_json::{Value, json};
use support::Server;
use support::acp::{call, prompt, scripted};
use support::ws::Ws;

/// A session of the scripted agent, with its first question asked; answers the client and the session's id.
async fn asked(server: &Server, promptd: Value) -> (Ws, Value) {
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=gemini").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [], "_meta": { "promptd": promptd } });
    client.command(call(1, "session/new", &new)).await;
    let id = client.next().await.unwrap()["result"]["sessionId"].clone();
    client.command(call(2, "session/prompt", &prompt(&id, "go"))).await;
    client
        .until(|message| message["method"] == "session/request_permission")
        .await;
    (client, id)
}

fn opening(server: &Server, session: &Value) -> Value {
    json!({ "sessionId": session, "cwd": server.workspace(), "mcpServers": [] })
}

#[tokio::test]
async fn question_shows_no_secret_to_a_later_client() {
    let server = scripted("acp-secret").start().await;
    // What the agent says of its call is, to this session, a key.
    let (_first, id) = asked(&server, json!({ "env": { "API_KEY": "touch it" } })).await;
    let mut other = server.ws("/v1/acp").await;
    other.command(call(1, "session/resume", &opening(&server, &id))).await;
    let heard = other
        .until(|message| message["id"] == 1 && message["result"].is_object())
        .await;
    let mut heard = Value::from(heard).to_string();
    if !heard.contains("request_permission") {
        heard = other.next().await.unwrap().to_string();
    }
    assert!(heard.contains("request_permission") && heard.contains("***"), "{heard}");
    assert!(!heard.contains("touch it"), "{heard}");
}

#[tokio::test]
async fn question_sent_twice_is_withdrawn_twice() {
    let server = scripted("acp-twice").start().await;
    let (mut client, id) = asked(&server, json!({})).await;
    client.command(call(3, "session/load", &opening(&server, &id))).await;
    client.until(|message| message["id"] == 3).await;
    let session = id.as_str().unwrap();
    let question = server.question(session).await;
    server.reply(session, &question, "yes").await;
    let heard = client
        .until(|message| message["id"] == 2 && message["result"].is_object())
        .await;
    let withdrawn = |message: &&Value| message["method"] == "$/cancel_request";
    assert_eq!(heard.iter().filter(withdrawn).count(), 2, "{heard:?}");
}

/// A session of the shell over a connection of its own.
async fn shell(server: &Server) -> (Ws, Value) {
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=shell").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
    client.command(call(1, "session/new", &new)).await;
    let id = client.next().await.unwrap()["result"]["sessionId"].clone();
    (client, id)
}

#[tokio::test]
async fn cancel_ends_the_prompts_of_this_client_only() {
    let server = Server::start().await;
    let (mut client, id) = shell(&server).await;
    client
        .command(call(2, "session/prompt", &prompt(&id, "sleep 600")))
        .await;
    client
        .command(call(3, "session/prompt", &prompt(&id, "touch mine")))
        .await;
    let session = id.as_str().unwrap();
    server
        .session_when(session, |session| session["turns"][1].is_object())
        .await;
    let path = format!("/v1/sessions/{session}/prompts");
    server.post(&path, json!({ "prompt": "touch theirs" })).await;
    let cancel = json!({ "jsonrpc": "2.0", "method": "session/cancel", "params": { "sessionId": id } });
    client.command(cancel).await;
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let answered = client.until(|message| message["id"].is_number()).await;
        ends.extend(answered.last().cloned());
    }
    for end in ends {
        assert_eq!(end["result"]["stopReason"], "cancelled", "{end}");
    }
    assert_eq!(server.settled(session).await["status"], "completed");
    let made = |name: &str| server.workspace().join(name).exists();
    assert_eq!((made("mine"), made("theirs")), (false, true));
}

#[tokio::test]
async fn cancelled_request_ends_its_own_turn_and_no_other() {
    let server = Server::start().await;
    let (mut client, id) = shell(&server).await;
    let session = id.as_str().unwrap();
    for (request, script) in [
        (2, "until test -e go; do sleep 0.02; done"),
        (3, "touch queued"),
        (4, "sleep 600"),
    ] {
        client
            .command(call(request, "session/prompt", &prompt(&id, script)))
            .await;
    }
    server.record(session, "started").await;
    server
        .session_when(session, |session| session["turns"][2].is_object())
        .await;
    let cancel =
        |request: Value| json!({ "jsonrpc": "2.0", "method": "$/cancel_request", "params": { "requestId": request } });
    for unknown in [json!(99), json!("2"), Value::Null, json!({})] {
        client.command(cancel(unknown)).await;
    }
    // It waits, and the one before it goes on.
    client.command(cancel(json!(3))).await;
    let answered = client.until(|message| message["id"].is_number()).await;
    let last = answered.last().unwrap();
    assert_eq!(
        (&last["id"], &last["result"]["stopReason"]),
        (&json!(3), &json!("cancelled"))
    );
    assert_eq!(server.session(session).await["turns"][0]["status"], "running");
    server.touch("go");
    let answered = client.until(|message| message["id"].is_number()).await;
    let last = answered.last().unwrap();
    assert_eq!(
        (&last["id"], &last["result"]["stopReason"]),
        (&json!(2), &json!("end_turn"))
    );
    server
        .session_when(session, |session| session["turns"][2]["started_at"].is_string())
        .await;
    client.command(cancel(json!(4))).await;
    let answered = client.until(|message| message["id"].is_number()).await;
    let last = answered.last().unwrap();
    assert_eq!(
        (&last["id"], &last["result"]["stopReason"]),
        (&json!(4), &json!("cancelled"))
    );
    assert!(!server.workspace().join("queued").exists());
}

#[tokio::test]
async fn closed_session_is_silent_until_loaded_again() {
    let server = Server::start().await;
    let (mut client, id) = shell(&server).await;
    client
        .command(call(2, "initialize", &json!({ "protocolVersion": 1 })))
        .await;
    let offered = client.next().await.unwrap()["result"]["agentCapabilities"]["sessionCapabilities"].clone();
    let all = json!({ "list": {}, "resume": {}, "close": {}, "delete": {} });
    assert_eq!(offered, all);
    client
        .command(call(3, "session/prompt", &prompt(&id, "echo on; sleep 600")))
        .await;
    client
        .until(|message| message["params"]["update"]["content"]["text"] == "on\n")
        .await;
    client
        .command(call(4, "session/close", &json!({ "sessionId": id })))
        .await;
    let heard = client.until(|message| message["id"] == 4).await;
    assert_eq!(heard.last().unwrap()["result"], json!({}), "{heard:?}");
    let end = heard.iter().find(|message| message["id"] == 3).unwrap();
    assert_eq!(end["result"]["stopReason"], "cancelled", "{heard:?}");
    let session = id.as_str().unwrap();
    assert_eq!(server.session(session).await["status"], "cancelled");

    let path = format!("/v1/sessions/{session}/prompts");
    server.post(&path, json!({ "prompt": "echo later" })).await;
    assert_eq!(server.settled(session).await["status"], "completed");
    client.command(call(5, "session/load", &opening(&server, &id))).await;
    let heard = client.until(|message| message["id"] == 5).await;
    let later = |message: &&Value| message["params"]["update"]["content"]["text"] == "later\n";
    assert_eq!(heard.iter().filter(later).count(), 1, "{heard:?}");
    client
        .command(call(6, "session/prompt", &prompt(&id, "echo again")))
        .await;
    let heard = client.until(|message| message["id"] == 6).await;
    assert_eq!(heard.last().unwrap()["result"]["stopReason"], "end_turn", "{heard:?}");
    let again = |message: &&Value| message["params"]["update"]["content"]["text"] == "again\n";
    assert_eq!(heard.iter().filter(again).count(), 1, "{heard:?}");
}

#[tokio::test]
async fn prompt_after_close_is_not_cancelled() {
    let server = Server::start().await;
    let (mut client, id) = shell(&server).await;
    client
        .command(call(2, "session/close", &json!({ "sessionId": id })))
        .await;
    client
        .command(call(3, "session/prompt", &prompt(&id, "echo again")))
        .await;
    let heard = client.until(|message| message["id"] == 3).await;
    assert_eq!(heard.last().unwrap()["result"]["stopReason"], "end_turn", "{heard:?}");
    let closed = |message: &Value| message["id"] == 2 && message["result"] == json!({});
    if !heard.iter().any(closed) {
        client.until(closed).await;
    }
}

#[tokio::test]
async fn deleted_session_is_unlisted_and_delete_repeats() {
    let server = Server::start().await;
    let (mut client, id) = shell(&server).await;
    client
        .command(call(2, "session/prompt", &prompt(&id, "echo on; sleep 600")))
        .await;
    client
        .until(|message| message["params"]["update"]["content"]["text"] == "on\n")
        .await;
    client
        .command(call(3, "session/delete", &json!({ "sessionId": id })))
        .await;
    let heard = client.until(|message| message["id"] == 3).await;
    assert_eq!(heard.last().unwrap()["result"], json!({}), "{heard:?}");
    let end = heard.iter().find(|message| message["id"] == 2).unwrap();
    assert_eq!(end["result"]["stopReason"], "cancelled", "{heard:?}");
    for (number, session) in [(4, id.clone()), (5, json!("never-there"))] {
        client
            .command(call(number, "session/delete", &json!({ "sessionId": session })))
            .await;
        let answer = client.next().await.unwrap();
        assert_eq!(
            (&answer["id"], &answer["result"]),
            (&json!(number), &json!({})),
            "{answer}"
        );
    }
    client.command(call(6, "session/list", &json!({}))).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer["result"]["sessions"], json!([]), "{answer}");
    let path = format!("/v1/sessions/{}", id.as_str().unwrap());
    assert_eq!(server.send("GET", &path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn load_with_other_folder_or_servers_is_refused() {
    let server = scripted("acp-opens").start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=gemini").await;
    let tools = |key: &str| {
        let env = [json!({ "name": "KEY", "value": key })];
        json!([{ "name": "docs", "command": "/bin/true", "args": [], "env": env }])
    };
    let new = json!({ "cwd": server.workspace(), "mcpServers": tools("s3cret-one") });
    client.command(call(1, "session/new", &new)).await;
    let id = client.next().await.unwrap()["result"]["sessionId"].clone();
    let link = server.root.join("link");
    std::os::unix::fs::symlink(server.workspace(), &link).unwrap();
    let mut number = 1;
    for method in ["session/load", "session/resume"] {
        for (member, value, names) in [
            ("cwd", json!("/"), server.workspace().display().to_string()),
            ("mcpServers", tools("s3cret-two"), "\"docs\"".to_owned()),
            ("additionalDirectories", json!(["/tmp"]), "leave it out".to_owned()),
            ("cwd", json!(link), String::new()),
            ("mcpServers", tools("s3cret-one"), String::new()),
            ("mcpServers", json!([]), String::new()),
        ] {
            number += 1;
            let mut asked = opening(&server, &id);
            asked[member] = value;
            client.command(call(number, method, &asked)).await;
            let answer = client.next().await.unwrap();
            assert_eq!(answer["id"], number, "{answer}");
            if names.is_empty() {
                assert!(answer["result"].is_object(), "{method} {asked}: {answer}");
                continue;
            }
            let said = answer["error"]["message"].as_str().unwrap_or_default();
            assert_eq!(answer["error"]["code"], -32602, "{method} {asked}: {answer}");
            assert!(said.contains(&names) && said.contains(member), "{answer}");
            assert!(!answer.to_string().contains("s3cret"), "{answer}");
        }
    }
    let new = json!({ "cwd": server.workspace(), "mcpServers": [], "additionalDirectories": ["/tmp"] });
    client.command(call(99, "session/new", &new)).await;
    assert_eq!(client.next().await.unwrap()["error"]["code"], -32602);
}

#[tokio::test]
async fn prompt_after_a_failed_load_is_answered() {
    let mut server = Server::start().await;
    let id = server.shell("echo first").await;
    server.settled(&id).await;
    // The server that ran the turn may follow the journal a moment longer, and would give the session up for good.
    server.kill();
    server.start_again().await;
    let journal = server.session_folder(&id).join("journal.ndjson");
    let away = journal.with_extension("away");
    std::fs::rename(&journal, &away).unwrap();
    let mut client = server.ws("/v1/acp").await;
    let id = json!(id);
    client.command(call(1, "session/load", &opening(&server, &id))).await;
    let refused = client.next().await.unwrap();
    assert!(refused["error"].is_object(), "{refused}");
    std::fs::rename(&away, &journal).unwrap();
    client
        .command(call(2, "session/prompt", &prompt(&id, "echo again")))
        .await;
    let heard = client.until(|message| message["id"] == 2).await;
    assert_eq!(heard.last().unwrap()["result"]["stopReason"], "end_turn", "{heard:?}");
}

#[tokio::test]
async fn parameter_errors_name_the_field_without_secrets() {
    let server = Server::start().await;
    let mut client = server.ws("/v1/acp").await;
    for env in [
        json!("s3cret"),
        json!([{ "name": "KEY", "value": ["s3cret"] }]),
        json!({ "s3cret": 1 }),
    ] {
        let tools = json!([{ "name": "a", "command": "c", "args": [], "env": env }]);
        client
            .command(call(1, "session/new", &json!({ "cwd": "/", "mcpServers": tools })))
            .await;
        let answer = client.next().await.unwrap();
        let said = answer["error"]["message"].as_str().unwrap();
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(said.contains("mcpServers") && !said.contains("s3cret"), "{answer}");
    }
    client
        .command(call(2, "session/prompt", &json!({ "sessionId": 7, "prompt": [] })))
        .await;
    let answer = client.next().await.unwrap();
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("sessionId"),
        "{answer}"
    );
}

#[tokio::test]
async fn sessions_beyond_the_limit_of_files_are_refused() {
    let few_files = ["bash", "-c", "ulimit -n 256 && exec \"$@\"", "bash"];
    let server = Server::with().runner(&few_files).start().await;
    let (mut client, first) = shell(&server).await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
    let mut number = 1;
    let refusal = loop {
        number += 1;
        assert!(number < 100, "there is no bound");
        client.command(call(number, "session/new", &new)).await;
        let heard = client.until(|message| message["id"] == number).await;
        let answer = heard.last().unwrap().clone();
        if answer["error"].is_object() {
            break answer;
        }
    };
    assert_eq!(refusal["error"]["data"]["code"], "too_many_open_sessions", "{refusal}");
    let (_other, session) = shell(&server).await;
    assert!(session.is_string(), "every client may open one");
    client
        .command(call(100, "session/close", &json!({ "sessionId": first })))
        .await;
    client.until(|message| message["id"] == 100).await;
    loop {
        number += 1;
        client.command(call(number, "session/new", &new)).await;
        let heard = client.until(|message| message["id"] == number).await;
        if heard.last().unwrap()["result"].is_object() {
            break;
        }
    }
}

#[tokio::test]
async fn fresh_prompt_begins_a_new_conversation() {
    let server = Server::with().scripted().start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=scripted").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
    client.command(call(1, "session/new", &new)).await;
    let id = client.next().await.unwrap()["result"]["sessionId"].clone();
    for (number, meta) in [
        (2, json!({})),
        (3, json!({ "promptd": { "fresh": false } })),
        (4, json!({ "promptd": { "fresh": true } })),
    ] {
        let mut params = prompt(&id, "say Hi.");
        params["_meta"] = meta;
        client.command(call(number, "session/prompt", &params)).await;
        client.until(|message| message["id"] == number).await;
    }
    let opened = server.heard_in_short("");
    let opened: Vec<&str> = opened
        .iter()
        .map(String::as_str)
        .filter(|method| matches!(*method, "session/new" | "session/load"))
        .collect();
    assert_eq!(opened, ["session/new", "session/load", "session/new"]);
    let session = server.session(id.as_str().unwrap()).await;
    let fresh: Vec<_> = (0..3).map(|turn| session["turns"][turn]["fresh"].clone()).collect();
    assert_eq!(fresh, [false, false, true]);
    let mut params = prompt(&id, "say Hi.");
    params["_meta"] = json!({ "promptd": { "frehs": true } });
    client.command(call(5, "session/prompt", &params)).await;
    let refused = client.until(|message| message["id"] == 5).await;
    assert!(
        refused.last().unwrap()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("fresh"),
        "{refused:?}"
    );
}
