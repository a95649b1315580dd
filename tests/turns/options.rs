//! A prompt chooses for its own turn: the model, what the agent asks, how often it may ask its model.

use serde_json::{Value, json};
use support::acp::call;
use support::{Builder, Server, of_type};

/// A server that takes a script for claude: it notes how it was started, and fails or waits where its prompt says so.
fn with_claude(name: &str) -> Builder {
    let programs = support::folder(name);
    let script = r#"#!/bin/sh
echo "$*" >> arguments
read -r prompt
printf '{"type":"system","subtype":"init","session_id":"c-1"}\n'
case "$prompt" in
    *wait*) while ! [ -e go ]; do sleep 0.02; done ;;
    *fail*) exit 1 ;;
esac
printf '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"c-1","num_turns":1}\n'
"#;
    std::fs::write(programs.join("claude"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(programs.join("claude"), executable).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Server::with().scripted().env("PATH", path)
}

/// The value of an option in each start of the agent.
fn started_with(server: &Server, option: &str) -> Vec<Option<String>> {
    let text = std::fs::read_to_string(server.workspace().join("arguments")).unwrap_or_default();
    let value = |line: &str| {
        let mut words = line.split(' ').skip_while(|word| *word != option);
        words.nth(1).map(str::to_owned)
    };
    text.lines().map(value).collect()
}

fn some(words: &[&str]) -> Vec<Option<String>> {
    words
        .iter()
        .map(|word| (!word.is_empty()).then(|| (*word).to_owned()))
        .collect()
}

fn of_turns(session: &Value, field: &str) -> Vec<Value> {
    let turns = session["turns"].as_array().unwrap().iter();
    turns.map(|turn| turn[field].clone()).collect()
}

#[tokio::test]
async fn model_of_a_prompt_counts_for_its_turn_only() {
    let server = with_claude("options-model").start().await;
    let id = server
        .create(json!({ "agent": "claude", "model": "small", "max_turns": 9, "prompt": "one" }))
        .await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    for prompt in [
        json!({ "prompt": "two", "model": "large", "max_turns": 3 }),
        json!({ "prompt": "three" }),
        json!({ "prompt": "four", "model": "other", "fresh": true }),
    ] {
        server.post(&prompts, prompt).await;
    }
    let session = server.settled(&id).await;
    assert_eq!(
        started_with(&server, "--model"),
        some(&["small", "large", "small", "other"])
    );
    assert_eq!(of_turns(&session, "model"), ["small", "large", "small", "other"]);
    assert_eq!(of_turns(&session, "max_turns"), [9, 3, 9, 9]);
    assert_eq!(started_with(&server, "--max-turns"), some(&["9", "3", "9", "9"]));
    assert_eq!(started_with(&server, "--resume"), some(&["", "c-1", "c-1", ""]));
    let records = server.records(&id).await;
    let recorded: Vec<_> = of_type(&records, "prompt")
        .iter()
        .map(|record| record["model"].clone())
        .collect();
    assert_eq!(recorded, [Value::Null, json!("large"), Value::Null, json!("other")]);
}

#[tokio::test]
async fn model_survives_restarts_and_retries() {
    let mut server = with_claude("options-restart").start().await;
    let id = server
        .create(json!({ "agent": "claude", "prompt": "wait", "retry": { "max": 1, "delay": 0.01 } }))
        .await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    server
        .post(&prompts, json!({ "prompt": "fail", "model": "large" }))
        .await;
    server.record(&id, "started").await;
    server.kill();
    server.start_again().await;
    server.touch("go");
    server.settled(&id).await;
    assert_eq!(started_with(&server, "--model"), some(&["", "large", "large"]));
}

#[tokio::test]
async fn agent_that_cannot_is_refused_with_those_that_can() {
    let server = with_claude("options-refused").start().await;
    let id = server.shell("true").await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    for (field, value) in [
        ("model", json!("large")),
        ("permission", json!("ask")),
        ("max_turns", json!(3)),
    ] {
        let mut body = json!({ "prompt": "true" });
        body[field] = value.clone();
        let (status, problem) = server.send("POST", &prompts, body).await;
        assert_eq!(
            (status, &problem["code"], &problem["field"]),
            (422, &json!("unsupported"), &json!(field))
        );
        let able = problem["agents"].as_array().unwrap();
        assert!(
            able.contains(&json!("claude")) && !able.contains(&json!("shell")),
            "{problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains("claude"), "{problem}");
        // With a new session, too.
        let mut body = json!({ "agent": "shell", "prompt": "true" });
        body[field] = value;
        let (status, again) = server.send("POST", "/v1/sessions", body).await;
        assert_eq!((status, &again["agents"]), (422, &problem["agents"]));
    }
    for (body, code, field) in [
        (json!({ "prompt": "x", "model": 7 }), "invalid_field", "model"),
        (
            json!({ "prompt": "x", "permission": "maybe" }),
            "invalid_field",
            "permission",
        ),
        (json!({ "prompt": "x", "modle": "large" }), "unknown_field", "modle"),
    ] {
        let (status, problem) = server.send("POST", &prompts, body).await;
        assert_eq!(
            (status, &problem["code"], &problem["field"]),
            (400, &json!(code), &json!(field))
        );
    }
    assert_eq!(server.settled(&id).await["turns"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn same_key_with_another_model_is_a_conflict() {
    let server = with_claude("options-key").start().await;
    let id = server.create(json!({ "agent": "claude", "prompt": "one" })).await;
    let send = async |model: &str| {
        let request = server.request("POST", &format!("/v1/sessions/{id}/prompts"));
        let body = json!({ "prompt": "two", "model": model });
        let answer = request.header("idempotency-key", "k").json(&body).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(
        [send("large").await, send("large").await, send("small").await],
        [202, 200, 409]
    );
}

#[tokio::test]
async fn message_for_the_running_turn_chooses_nothing() {
    let server = with_claude("options-now").start().await;
    let id = server
        .create(json!({ "agent": "claude", "prompt": "wait", "steerable": true }))
        .await;
    server.record(&id, "started").await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    for (field, value) in [
        ("model", json!("large")),
        ("permission", json!("ask")),
        ("max_turns", json!(3)),
    ] {
        let mut body = json!({ "prompt": "x", "when": "now" });
        body[field] = value;
        let (status, problem) = server.send("POST", &prompts, body).await;
        assert_eq!((status, &problem["field"]), (400, &json!(field)));
    }
}

#[tokio::test]
async fn one_turn_asks_and_another_one_does_not() {
    let server = Server::with().scripted().start().await;
    let id = server
        .create(json!({ "agent": "scripted", "permission": "ask", "permission_timeout": 600, "prompt": "say One." }))
        .await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    server
        .post(&prompts, json!({ "prompt": "ask", "permission": "bypass" }))
        .await;
    // Nobody is asked, and the agent gets its answer.
    let session = server.settled(&id).await;
    assert_eq!(of_turns(&session, "permission"), ["ask", "bypass"]);
    assert_eq!(session["turns"][1]["status"], "completed", "{session}");
    assert!(of_type(&server.records(&id).await, "permission").is_empty());
    server.post(&prompts, json!({ "prompt": "ask" })).await;
    let question = server.question(&id).await;
    server.reply(&id, &question, "reject-once").await;
    assert_eq!(server.settled(&id).await["turns"][2]["status"], "completed");
}

#[tokio::test]
async fn other_protocols_choose_too() {
    let server = with_claude("options-protocols").start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let mut client = server.ws("/v1/acp?agent=claude&permission=bypass").await;
    let new = json!({ "cwd": server.workspace(), "mcpServers": [] });
    client.command(call(1, "session/new", &new)).await;
    let id = client.next().await.unwrap()["result"]["sessionId"].clone();
    let prompt = json!({
        "sessionId": id, "prompt": [{ "type": "text", "text": "one" }], "_meta": { "promptd": { "model": "acp-model" } }
    });
    client.command(call(2, "session/prompt", &prompt)).await;
    client.until(|message| message["id"] == 2).await;
    let id = id.as_str().unwrap();
    let mut socket = server.ws(&format!("/v1/sessions/{id}/ws")).await;
    socket
        .command(json!({ "type": "prompt", "prompt": "two", "model": "ws-model", "max_turns": 2 }))
        .await;
    socket
        .until(|message| message["type"] == "turn_ended" && message["turn"] == 2)
        .await;
    assert_eq!(started_with(&server, "--model"), some(&["acp-model", "ws-model"]));
}

#[tokio::test]
async fn agents_own_id_is_known_while_the_first_turn_runs() {
    let mut server = with_claude("options-id").start().await;
    let id = server.create(json!({ "agent": "claude", "prompt": "wait" })).await;
    let is_known = |session: &Value| session["agent_session_id"] == "c-1";
    let session = server.session_when(&id, is_known).await;
    assert_eq!(session["status"], "running");
    // The next server finds it, too.
    server.kill();
    server.start_again().await;
    let session = server.session_when(&id, is_known).await;
    assert_eq!(session["status"], "running");
    server.touch("go");
    assert!(is_known(&server.settled(&id).await));
    // An agent that is talked with, too.
    let talked = server.act("wait go2", json!({})).await;
    let session = server
        .session_when(&talked, |session| session["agent_session_id"] == "session-1")
        .await;
    assert_eq!(session["status"], "running");
    server.touch("go2");
    server.settled(&talked).await;
}
