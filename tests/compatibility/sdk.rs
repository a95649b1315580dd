//! `/config` and `/ws` are what clients of the Claude Agent SDK server pattern expect.

use serde_json::{Value, json};
use support::ws::Ws;
use support::{Builder, Server};

/// A server that takes a script for claude.
fn scripted(name: &str) -> Builder {
    let programs = support::folder(name);
    // It tells what it was asked and how, hangs where it is told to, and says its result.
    let script = r#"#!/bin/sh
echo "$*" >> arguments
read -r prompt
printf '{"type":"system","subtype":"init","session_id":"c-1","key":"%s"}\n' "$ANTHROPIC_API_KEY"
printf '{"type":"stream_event","event":{}}\n'
echo 'a remark' >&2
case "$prompt" in *hang*) exec sleep 600 ;; esac
printf '{"type":"assistant","session_id":"c-1","message":{"role":"assistant","content":[{"type":"text","text":"%s"}]}}\n' "$prompt"
printf '{"type":"result","subtype":"success","is_error":false,"result":"%s","session_id":"c-1","num_turns":1}\n' "$prompt"
"#;
    std::fs::write(programs.join("claude"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(programs.join("claude"), executable).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Server::with().env("PATH", path)
}

async fn connect(server: &Server, query: &str) -> (Ws, Value) {
    let mut client = server.ws(&format!("/ws{query}")).await;
    let connected = client.next().await.unwrap();
    assert_eq!(connected["type"], "connected", "{connected}");
    (client, connected)
}

fn user(text: &str) -> Value {
    json!({ "type": "user_message", "data": {
        "type": "user", "session_id": "the-client's-own", "parent_tool_use_id": null,
        "message": { "role": "user", "content": text } } })
}

fn is_result(frame: &Value) -> bool {
    frame["type"] == "sdk_message" && frame["data"]["type"] == "result"
}

/// All frames of a turn: its result, and its remark, which may come before or behind it.
async fn turn(client: &mut Ws) -> Vec<Value> {
    let is_remark = |frame: &Value| frame["type"] == "info" && frame["data"] == "a remark";
    let mut frames = Vec::new();
    while !(frames.iter().any(is_result) && frames.iter().any(is_remark)) {
        frames.push(client.next().await.unwrap());
    }
    frames
}

fn result(frames: &[Value]) -> &Value {
    let frame = frames.iter().find(|frame| is_result(frame));
    &frame.unwrap()["data"]["result"]
}

fn key(frames: &[Value]) -> &Value {
    let frame = frames.iter().find(|frame| frame["data"]["type"] == "system");
    &frame.unwrap()["data"]["key"]
}

#[tokio::test]
async fn clients_share_a_conversation_and_miss_nothing() {
    let server = scripted("sdk-shared").start().await;
    let (mut one, connected) = connect(&server, "").await;
    assert_eq!(connected["session"], Value::Null);
    let (mut other, _) = connect(&server, "").await;
    one.command(user("first")).await;
    let heard = turn(&mut one).await;
    let kinds: Vec<&str> = heard
        .iter()
        .filter_map(|frame| frame["data"]["type"].as_str())
        .collect();
    assert_eq!(kinds, ["system", "assistant", "result"], "{heard:?}");
    assert_eq!(turn(&mut other).await, heard);
    let last = heard.last().unwrap()["seq"].as_u64().unwrap();
    let session = heard[0]["session"].as_str().unwrap().to_owned();
    one.close().await;

    other.command(user("second")).await;
    let missed = turn(&mut other).await;
    let (mut one, connected) = connect(&server, &format!("?after={last}")).await;
    assert_eq!(connected["session"], json!(session));
    assert_eq!(turn(&mut one).await, missed);
    // Without it, only what comes.
    let (mut new, _) = connect(&server, &format!("?session={session}")).await;
    other.command(user("third")).await;
    let third = turn(&mut new).await;
    assert_eq!(result(&third), "third");
    assert_eq!(turn(&mut one).await, third);
}

#[tokio::test]
async fn interrupt_ends_the_turn_and_the_next_one_works() {
    let server = scripted("sdk-interrupt").start().await;
    let (mut client, _) = connect(&server, "").await;
    client.command(json!({ "type": "interrupt" })).await;
    client.command(user("please hang")).await;
    client.until(|frame| frame["data"]["type"] == "system").await;
    client.command(json!({ "type": "interrupt" })).await;
    let ended = client.until(|frame| frame["type"] == "error").await;
    assert!(
        ended.last().unwrap()["error"].as_str().unwrap().contains("interrupted"),
        "{ended:?}"
    );
    client.command(user("go on")).await;
    let heard = turn(&mut client).await;
    assert_eq!(result(&heard), "go on");
    client.send("garbage").await;
    let refused = client.until(|frame| frame["type"] == "error").await;
    assert_eq!(refused.last().unwrap()["code"], "malformed_json");
}

#[tokio::test]
async fn configuration_hides_secrets_and_starts_a_session() {
    let mut server = scripted("sdk-config").start().await;
    let (mut client, _) = connect(&server, "").await;
    client.command(user("before")).await;
    let before = turn(&mut client).await;
    let config = json!({ "anthropicApiKey": "s3cret-key-of-theirs", "model": "m", "includePartialMessages": true,
        "e2bApiKey": "s3cret-of-another", "timeoutMs": 1, "env": { "OTHER_TOKEN": "s3cret-too-long" } });
    let answer = server.post("/config", config.clone()).await;
    assert_eq!(
        (&answer["success"], &answer["config"]["model"]),
        (&json!(true), &json!("m"))
    );
    let shown = server.get("/config").await;
    for text in [answer.to_string(), shown.to_string(), server.log()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let file = server.home().join("sdk.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("s3cret-key-of-theirs") && !kept.contains("s3cret-of-another"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    client.command(user("after")).await;
    let after = turn(&mut client).await;
    assert_ne!(after[0]["session"], before[0]["session"]);
    assert!(
        after.iter().any(|frame| frame["data"]["type"] == "stream_event"),
        "{after:?}"
    );
    // The key reached the agent, and no client.
    assert_eq!(key(&after), "***", "{after:?}");
    // The same again changes nothing; nor does a restart.
    server.post("/config", config).await;
    server.kill();
    server.start_again().await;
    let (mut client, connected) = connect(&server, "").await;
    assert_eq!(connected["session"], after[0]["session"]);
    client.command(user("still")).await;
    assert_eq!(key(&turn(&mut client).await), "***");

    let (status, refused) = server
        .send("POST", "/config", json!({ "anthropicApiKey": ["s3cret"] }))
        .await;
    assert_eq!(
        (status, refused["error"].to_string().contains("s3cret")),
        (400, false),
        "{refused}"
    );
    let (status, refused) = server.send("POST", "/config", json!(["another-key"])).await;
    assert!(
        status == 400 && refused["error"].as_str().unwrap().contains("an object"),
        "{refused}"
    );
    let (status, refused) = server
        .send("POST", "/config", json!({ "permissionMode": "plan" }))
        .await;
    assert!(
        status == 400 && refused["error"].as_str().unwrap().contains("bypassPermissions"),
        "{refused}"
    );
}

#[tokio::test]
async fn mcp_server_of_a_subagent_is_refused() {
    let server = scripted("sdk-agents").start().await;
    let tools = json!({ "docs": { "type": "http", "url": "http://x", "headers": { "Authorization": "s3cret-word" } } });
    let agent =
        |servers: Value| json!({ "agents": { "a": { "description": "d", "prompt": "p", "mcpServers": servers } } });
    let (status, refused) = server.send("POST", "/config", agent(json!([tools]))).await;
    let said = refused["error"].as_str().unwrap_or_default();
    assert!(status == 400 && said.contains("agents.a.mcpServers"), "{refused}");
    assert!(!refused.to_string().contains("s3cret") && !server.get("/config").await.to_string().contains("s3cret"));
    server.post("/config", agent(json!(["docs"]))).await;
}

#[tokio::test]
async fn fresh_message_begins_a_new_conversation() {
    let server = scripted("sdk-fresh").start().await;
    let (mut client, _) = connect(&server, "").await;
    client.command(user("first")).await;
    let session = turn(&mut client).await[0]["session"].as_str().unwrap().to_owned();
    for fresh in [false, true] {
        let mut message = user("again");
        message["fresh"] = json!(fresh);
        client.command(message).await;
        turn(&mut client).await;
    }
    let shown = server.settled(&session).await;
    let fresh: Vec<_> = (0..3).map(|turn| shown["turns"][turn]["fresh"].clone()).collect();
    assert_eq!(fresh, [false, false, true]);
    let started = std::fs::read_to_string(server.workspace().join("arguments")).unwrap();
    let resumes: Vec<bool> = started.lines().map(|line| line.contains("--resume c-1")).collect();
    assert_eq!(resumes, [false, true, false], "{started}");
    let mut wrong = user("again");
    wrong["fresh"] = json!("yes");
    client.command(wrong).await;
    let refused = client.next().await.unwrap();
    assert!(refused["error"].as_str().unwrap().contains("fresh"), "{refused}");
}
