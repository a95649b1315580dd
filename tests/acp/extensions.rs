//! What clients of `/v1/acp` can do where they say that they can: forms, messages into a running turn, cancelled requests.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use support::acp::{call, prompt};
use support::ws::Ws;
use support::{Server, folder};

/// A client that shows forms.
async fn with_forms(server: &Server, path: &str) -> Ws {
    let mut client = server.ws(path).await;
    let capabilities = json!({ "elicitation": { "form": {} } });
    let about = json!({ "protocolVersion": 1, "clientCapabilities": capabilities });
    client.command(call(1, "initialize", &about)).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer["result"]["_meta"]["steering"]["supported"], true, "{answer}");
    client
}

async fn load(client: &mut Ws, server: &Server, id: &str) {
    let opening = json!({ "sessionId": id, "cwd": server.session(id).await["cwd"], "mcpServers": [] });
    client.command(call(2, "session/load", &opening)).await;
}

/// Waits for a request of the server.
async fn asked(client: &mut Ws, method: &str) -> Value {
    let heard = client.until(|message| message["method"] == method).await;
    heard.last().unwrap().clone()
}

fn result(asked: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result })
}

#[tokio::test]
async fn question_with_a_form_is_an_elicitation() {
    let server = Server::with().scripted().start().await;
    let id = server.act("form", json!({})).await;
    server.question(&id).await;
    let mut client = with_forms(&server, "/v1/acp").await;
    load(&mut client, &server, &id).await;
    let form = asked(&mut client, "elicitation/create").await;
    let params = &form["params"];
    assert_eq!(
        (&params["mode"], &params["sessionId"], &params["message"]),
        (&json!("form"), &json!(id), &json!("Choose")),
    );
    let color = json!({ "type": "string", "title": "Color", "description": "Which color?",
        "oneOf": [{ "const": "Red", "title": "Red" }, { "const": "Blue", "title": "Blue" }] });
    let count = json!({ "type": "integer", "title": "count", "description": "count" });
    let schema = json!({ "type": "object", "properties": { "color": color, "count": count }, "required": ["color"] });
    assert_eq!(params["requestedSchema"], schema);
    let content = json!({ "color": "Blue", "count": 3 });
    client
        .command(result(&form, json!({ "action": "accept", "content": content })))
        .await;
    let session = server.settled(&id).await;
    let told = r#"told {"action":"accept","content":{"color":"Blue","count":3}}. "#;
    assert_eq!(session["turns"][0]["result"], told, "{session}");
}

#[tokio::test]
async fn form_can_be_declined_or_dismissed() {
    let server = Server::with().scripted().start().await;
    for action in ["decline", "cancel"] {
        let id = server.act("form", json!({})).await;
        server.question(&id).await;
        let mut client = with_forms(&server, "/v1/acp").await;
        load(&mut client, &server, &id).await;
        let form = asked(&mut client, "elicitation/create").await;
        client.command(result(&form, json!({ "action": action }))).await;
        let session = server.settled(&id).await;
        assert_eq!(
            session["turns"][0]["result"], r#"told {"action":"decline"}. "#,
            "{session}"
        );
    }
}

/// The question would be open with nobody to answer it.
#[tokio::test]
async fn client_that_cannot_fill_in_a_form_is_asked_for_an_option() {
    let server = Server::with().scripted().start().await;
    let wrong = json!({ "action": "accept", "content": { "color": "Green" } });
    for answer in [
        json!({ "result": wrong }),
        json!({ "result": {} }),
        json!({ "error": { "code": -32602, "message": "no such field" } }),
    ] {
        let id = server.act("form", json!({})).await;
        server.question(&id).await;
        let mut client = with_forms(&server, "/v1/acp").await;
        load(&mut client, &server, &id).await;
        let form = asked(&mut client, "elicitation/create").await;
        let mut response = json!({ "jsonrpc": "2.0", "id": form["id"] });
        response
            .as_object_mut()
            .unwrap()
            .extend(answer.as_object().unwrap().clone());
        client.command(response).await;
        let question = asked(&mut client, "session/request_permission").await;
        let chosen = json!({ "outcome": { "outcome": "selected", "optionId": "decline" } });
        client.command(result(&question, chosen)).await;
        server.settled(&id).await;
    }
}

#[tokio::test]
async fn form_that_was_answered_elsewhere_is_withdrawn() {
    let server = Server::with().scripted().start().await;
    let id = server.act("form", json!({})).await;
    let question = server.question(&id).await;
    let mut client = with_forms(&server, "/v1/acp").await;
    load(&mut client, &server, &id).await;
    let form = asked(&mut client, "elicitation/create").await;
    server.reply(&id, &question, "decline").await;
    let withdrawn = asked(&mut client, "$/cancel_request").await;
    assert_eq!(withdrawn["params"]["requestId"], form["id"]);
}

/// A claude that waits for a message in its first turn.
const CLAUDE: &str = r#"#!/bin/sh
read -r prompt
printf '%s\n' "$prompt" >> heard
printf '{"type":"system","subtype":"init","session_id":"c-1"}\n'
case "$prompt" in *wait*) read -r message; printf '%s\n' "$message" >> heard ;; esac
printf '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"c-1","num_turns":1}\n'
"#;

#[tokio::test]
async fn client_sends_a_message_into_the_running_turn() {
    let programs = folder("acp-steering");
    std::fs::write(programs.join("claude"), CLAUDE).unwrap();
    std::fs::set_permissions(programs.join("claude"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let server = Server::with().scripted().env("PATH", path).start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=claude").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
    client.command(call(1, "session/new", &new)).await;
    let id = client.until(|message| message["id"] == 1).await.pop().unwrap()["result"]["sessionId"].clone();
    client
        .command(call(2, "session/prompt", &prompt(&id, "wait for it")))
        .await;
    server.record(id.as_str().unwrap(), "started").await;
    client
        .command(call(3, "_session/steering", &prompt(&id, "only the tests")))
        .await;
    let steered = client.until(|message| message["id"] == 3).await.pop().unwrap();
    assert_eq!(steered["result"]["outcome"], "injected", "{steered}");
    let ended = client.until(|message| message["id"] == 2).await.pop().unwrap();
    assert_eq!(ended["result"]["stopReason"], "end_turn", "{ended}");
    let heard = std::fs::read_to_string(server.workspace().join("heard")).unwrap();
    assert!(heard.lines().nth(1).unwrap().contains("only the tests"), "{heard}");
    // Nothing runs: the client sends it itself, or it is a turn.
    let mut idle = prompt(&id, "and then");
    idle["_meta"] = json!({ "steering": { "idleBehavior": "promptRequired" } });
    client.command(call(4, "_session/steering", &idle)).await;
    let refused = client.until(|message| message["id"] == 4).await.pop().unwrap();
    assert_eq!(
        refused["result"],
        json!({ "outcome": "promptRequired", "reason": "noRunningTurn" })
    );
    client
        .command(call(5, "_session/steering", &prompt(&id, "and then")))
        .await;
    let begun = client.until(|message| message["id"] == 5).await.pop().unwrap();
    assert_eq!(begun["result"]["outcome"], "startedNewTurn", "{begun}");
    let session = server.settled(id.as_str().unwrap()).await;
    assert_eq!(session["turns"].as_array().unwrap().len(), 2, "{session}");
    // An agent that takes none.
    let other = server.act("hang", json!({})).await;
    server.hears("", "session/prompt").await;
    client
        .command(call(6, "_session/steering", &prompt(&json!(other), "x")))
        .await;
    let refused = client.until(|message| message["id"] == 6).await.pop().unwrap();
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
}

/// The id in the answer to `session/new`.
async fn session_of(client: &mut Ws) -> Value {
    let answer = client.until(|message| message["id"] == 1).await.pop().unwrap();
    answer["result"]["sessionId"].clone()
}

fn cancel(request: u32) -> Value {
    json!({ "jsonrpc": "2.0", "method": "$/cancel_request", "params": { "requestId": request } })
}

/// Only `session/prompt` could be cancelled; a client waited for all others.
#[tokio::test]
async fn request_that_waits_can_be_cancelled() {
    let server = Server::with().scripted().start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=scripted").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
    client.command(call(1, "session/new", &new)).await;
    let id = session_of(&mut client).await;
    // It reads no cancellation before there is the file.
    client
        .command(call(2, "session/prompt", &prompt(&id, "say Here.\nwait go\nhang")))
        .await;
    let said = |message: &Value| message["params"]["update"]["content"]["text"] == "Here.";
    client.until(said).await;
    client
        .command(call(3, "session/close", &json!({ "sessionId": id })))
        .await;
    client.command(cancel(77)).await;
    client.command(cancel(3)).await;
    let mut answers = client.until(|message| message["id"] == 3).await;
    let answer = answers.pop().unwrap();
    assert_eq!(answer["error"]["code"], -32800, "{answer}");
    // What had begun goes on.
    server.touch("go");
    let ended = client.until(|message| message["id"] == 2).await.pop().unwrap();
    assert_eq!(ended["result"]["stopReason"], "cancelled", "{ended}");
    // A request that was answered is none any more.
    client.command(cancel(1)).await;
    client.command(call(4, "session/list", &json!({}))).await;
    client.until(|message| message["id"] == 4).await;
}

#[tokio::test]
async fn replay_can_be_cancelled() {
    let server = Server::start().await;
    let id = server
        .shell("i=0; while [ $i -lt 200 ]; do head -c 100000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done")
        .await;
    server.settled(&id).await;
    let mut client = server.ws("/v1/acp").await;
    load(&mut client, &server, &id).await;
    client.command(cancel(2)).await;
    // More than sockets hold has not been read yet, so the server cannot have sent it all.
    let heard = client.until(|message| message["id"] == 2).await;
    assert_eq!(heard.last().unwrap()["error"]["code"], -32800);
    // The connection is as it was.
    load(&mut client, &server, &id).await;
    let heard = client.until(|message| message["id"] == 2).await;
    assert!(heard.last().unwrap()["result"].is_object());
}

/// With an id of its own, a client can repeat `session/new`; taking that back is no reason to delete the session.
#[tokio::test]
async fn repeated_session_new_that_is_cancelled_deletes_nothing() {
    let server = Server::start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=shell").await;
    let meta = json!({ "promptd": { "id": "own" } });
    let new = json!({ "cwd": server.workspace(), "mcpServers": [], "_meta": meta });
    client.command(call(1, "session/new", &new)).await;
    assert_eq!(session_of(&mut client).await, "own");
    let created = server.session("own").await["created_at"].clone();
    for number in 2..30 {
        client.command(call(number, "session/new", &new)).await;
        client.command(cancel(number)).await;
        client.until(|message| message["id"] == number).await;
    }
    assert_eq!(server.session("own").await["created_at"], created);
}
