//! A prompt can be content blocks: images and files for the agents that take them.

use serde_json::{Value, json};
use support::ws::Ws;
use support::{Builder, Server, of_type};

/// One pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn image() -> Value {
    json!({ "type": "image", "data": PNG, "mimeType": "image/png" })
}

fn link() -> Value {
    json!({ "type": "resource_link", "name": "a.rs", "uri": "file:///w/a.rs" })
}

fn pdf() -> Value {
    json!({ "type": "resource", "resource": { "uri": "file:///w/b.pdf", "mimeType": "application/pdf", "blob": "aGk=" } })
}

/// A server that takes a script for claude: it notes how it was started and its first line, and says a result.
fn with_claude(name: &str) -> Builder {
    let programs = support::folder(name);
    let script = r#"#!/bin/sh
echo "$*" >> arguments
read -r prompt
printf '%s\n' "$prompt" >> heard
printf '{"type":"system","subtype":"init","session_id":"c-1"}\n'
printf '{"type":"result","subtype":"success","is_error":false,"result":"seen","session_id":"c-1","num_turns":1}\n'
"#;
    std::fs::write(programs.join("claude"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(programs.join("claude"), executable).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Server::with().env("PATH", path)
}

fn lines(server: &Server, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(server.workspace().join(name)).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What an ACP agent was told as its prompts.
fn prompts(server: &Server) -> Vec<Value> {
    let heard = server.heard("");
    let messages = heard.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let prompts = messages.filter(|message| message["method"] == "session/prompt");
    prompts.map(|message| message["params"]["prompt"].clone()).collect()
}

#[tokio::test]
async fn acp_agent_gets_the_blocks_as_they_are() {
    let server = Server::with().scripted().start().await;
    let blocks = json!([text("say Seen."), image(), link(), pdf()]);
    let id = server.create(json!({ "agent": "scripted", "prompt": blocks })).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "Seen.", "{session}");
    assert_eq!(prompts(&server).as_slice(), std::slice::from_ref(&blocks));
    let record = server.record(&id, "prompt").await;
    assert_eq!(record["blocks"], blocks);
    // What a reader of an older version shows.
    let said = "say Seen.[image image/png][@a.rs](file:///w/a.rs)[file file:///w/b.pdf]";
    assert_eq!(record["text"], said);
    // Blocks that are texts are a text.
    let texts = json!([text("say One. "), text("\nsay Two.")]);
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": texts }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][1]["result"], "One. Two.", "{session}");
    let records = server.records(&id).await;
    let record = of_type(&records, "prompt")[1];
    assert_eq!(
        (&record["text"], &record["blocks"]),
        (&json!("say One. \nsay Two."), &Value::Null)
    );
}

/// Claude took its prompt as plain text where it asks nothing, and there is no image in plain text.
#[tokio::test]
async fn claude_gets_images_without_being_asked_to_ask() {
    let server = with_claude("claude-images").start().await;
    let blocks = json!([text("look"), image(), pdf()]);
    let id = server.create(json!({ "agent": "claude", "prompt": blocks })).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "seen", "{session}");
    let prompts = format!("/v1/sessions/{id}/prompts");
    server.post(&prompts, json!({ "prompt": "and now" })).await;
    server.settled(&id).await;
    let [first, second] = lines(&server, "arguments").try_into().unwrap();
    assert!(first.contains("--input-format stream-json"), "{first}");
    assert!(first.contains("--dangerously-skip-permissions"), "{first}");
    assert!(!second.contains("--input-format"), "{second}");
    let [first, second] = lines(&server, "heard").try_into().unwrap();
    let message: Value = serde_json::from_str(&first).unwrap();
    let source = |mime: &str, data: &str| json!({ "type": "base64", "media_type": mime, "data": data });
    let expected = json!([
        text("look"),
        { "type": "image", "source": source("image/png", PNG) },
        { "type": "document", "source": source("application/pdf", "aGk=") },
    ]);
    assert_eq!(message["message"]["content"], expected);
    assert_eq!(second, "and now");
    // So readers know how to read each turn.
    let records = server.records(&id).await;
    let formats: Vec<_> = of_type(&records, "started")
        .iter()
        .map(|record| &record["format"])
        .collect();
    assert_eq!(formats, [&json!("claude-control"), &Value::Null]);
    let zip =
        json!([{ "type": "resource", "resource": { "uri": "a.zip", "mimeType": "application/zip", "blob": "aGk=" } }]);
    let (status, refusal) = server.send("POST", &prompts, json!({ "prompt": zip })).await;
    assert_eq!((status, &refusal["field"]), (422, &json!("prompt")));
    let detail = refusal["detail"].as_str().unwrap();
    assert!(
        detail.contains("application/zip") && detail.contains("application/pdf"),
        "{detail}"
    );
}

#[tokio::test]
async fn agent_that_takes_text_only_refuses_and_says_who_can() {
    let server = Server::with().scripted().start().await;
    let with_image = json!([text("true"), image()]);
    let (status, refusal) = server
        .send(
            "POST",
            "/v1/sessions",
            json!({ "agent": "shell", "prompt": with_image }),
        )
        .await;
    assert_eq!((status, &refusal["code"]), (422, &json!("unsupported")), "{refusal}");
    let able: Vec<_> = refusal["agents"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (name, is_able) in [
        ("claude", true),
        ("codex", true),
        ("scripted", true),
        ("shell", false),
        ("pi", false),
    ] {
        assert_eq!(able.contains(&name), is_able, "{refusal}");
        if is_able {
            assert!(refusal["detail"].as_str().unwrap().contains(name), "{refusal}");
        }
    }
    let agents = server.get("/v1/agents").await;
    for agent in agents["agents"].as_array().unwrap() {
        let is_listed = able.contains(&agent["name"].as_str().unwrap());
        assert_eq!(agent["capabilities"]["images"], is_listed, "{agent}");
    }
    // Links and texts of files can be said to every agent.
    let file = json!({ "type": "resource", "resource": { "uri": "b", "text": "echo inside" } });
    let id = server
        .create(json!({ "agent": "shell", "prompt": [text(": "), link(), text("\ncat <<END"), file, text("END\n")] }))
        .await;
    server.settled(&id).await;
    let record = server.record(&id, "prompt").await;
    assert!(
        record["text"]
            .as_str()
            .unwrap()
            .contains("\n<context ref=\"b\">\necho inside\n</context>\n")
    );
    // Only the agent itself knows.
    let id = server
        .create(json!({ "agent": "text-only", "prompt": [text("say no"), image()] }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "failed", "{session}");
    let ended = server.record(&id, "turn_ended").await;
    assert!(ended["error"].as_str().unwrap().contains("prompt[1]"), "{ended}");
    let id = server
        .create(json!({ "agent": "text-only", "prompt": [text("say yes"), link()] }))
        .await;
    assert_eq!(server.settled(&id).await["turns"][0]["result"], "yes");
}

#[tokio::test]
async fn wrong_block_is_refused_by_its_path() {
    let server = Server::with().scripted().start().await;
    let id = server.create(json!({ "agent": "scripted" })).await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    let cases = [
        (json!([]), "prompt"),
        (json!(7), "prompt"),
        (json!([text("x"), 7]), "prompt[1]"),
        (json!([{ "text": "x" }]), "prompt[0].type"),
        (
            json!([{ "type": "audio", "data": "", "mimeType": "audio/wav" }]),
            "prompt[0].type",
        ),
        (json!([{ "type": "text", "text": 7 }]), "prompt[0].text"),
        (
            json!([text("x"), { "type": "text", "text": "x", "mime": 1 }]),
            "prompt[1].mime",
        ),
        (json!([{ "type": "text" }]), "prompt[0].text"),
        (
            json!([text("x"), { "type": "image", "data": "%%", "mimeType": "image/png" }]),
            "prompt[1].data",
        ),
        (
            json!([{ "type": "image", "data": PNG, "mimeType": "text/plain" }]),
            "prompt[0].mimeType",
        ),
        (json!([{ "type": "image", "data": PNG }]), "prompt[0].mimeType"),
        (
            json!([{ "type": "resource", "resource": { "text": "x" } }]),
            "prompt[0].resource.uri",
        ),
        (
            json!([{ "type": "resource", "resource": { "uri": "x" } }]),
            "prompt[0].resource.text",
        ),
        (json!([{ "type": "resource_link", "uri": "x" }]), "prompt[0].name"),
        (json!(vec![text("x"); 101]), "prompt"),
    ];
    for (blocks, field) in cases {
        for (path, request) in [
            (prompts.as_str(), json!({ "prompt": blocks })),
            ("/v1/sessions", json!({ "agent": "scripted", "prompt": blocks })),
        ] {
            let (status, refusal) = server.send("POST", path, request).await;
            assert_eq!(
                (status, &refusal["field"]),
                (400, &json!(field)),
                "{path} {blocks}: {refusal}"
            );
        }
    }
    assert_eq!(server.session(&id).await["turns"], json!([]));
}

#[tokio::test]
async fn repeated_blocks_are_one_turn() {
    let server = Server::with().scripted().start().await;
    let id = server.create(json!({ "agent": "scripted" })).await;
    let send = async |prompt: Value| {
        let path = format!("/v1/sessions/{id}/prompts");
        let request = server.request("POST", &path).header("idempotency-key", "k");
        let answer = request.json(&json!({ "prompt": prompt })).send().await.unwrap();
        answer.status().as_u16()
    };
    let other = json!({ "type": "image", "data": "aGk=", "mimeType": "image/png" });
    assert_eq!(send(json!([text("say x"), image()])).await, 202);
    assert_eq!(send(json!([text("say x"), image()])).await, 200);
    assert_eq!(send(json!([text("say x"), other])).await, 409);
    assert_eq!(send(json!("say x[image image/png]")).await, 409);
}

async fn acked(client: &mut Ws, command: Value) {
    client.command(command).await;
    client.until(|message| message["type"] == "ack").await;
}

#[tokio::test]
async fn every_way_in_takes_blocks() {
    let server = Server::with().scripted().start().await;
    let blocks = json!([text("say Seen."), image()]);
    let mut bare = server.ws("/").await;
    acked(&mut bare, json!({ "agent": "scripted", "prompt": blocks })).await;
    acked(&mut bare, json!({ "prompt": blocks })).await;
    let sessions = server.get("/v1/sessions").await;
    let id = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
    let mut ws = server.ws(&format!("/v1/sessions/{id}/ws")).await;
    acked(&mut ws, json!({ "type": "prompt", "prompt": blocks })).await;
    let mut acp = server.ws("/v1/acp").await;
    let call = |id: u32, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    acp.command(call(1, "initialize", json!({ "protocolVersion": 1 })))
        .await;
    let offer = acp.next().await.unwrap();
    assert_eq!(
        offer["result"]["agentCapabilities"]["promptCapabilities"]["image"], true,
        "{offer}"
    );
    acp.command(call(2, "session/prompt", json!({ "sessionId": id, "prompt": blocks })))
        .await;
    acp.until(|message| message["id"] == 2 && message["result"].is_object())
        .await;
    assert_eq!(prompts(&server), vec![blocks; 4]);
}

/// Clients of this route have blocks of the model's API.
#[tokio::test]
async fn sdk_client_sends_an_image() {
    let server = with_claude("claude-sdk-images").start().await;
    let mut client = server.ws("/ws").await;
    let source = json!({ "type": "base64", "media_type": "image/png", "data": PNG });
    let content = json!([text("look"), { "type": "image", "source": source }]);
    let message = json!({ "type": "user", "session_id": "", "parent_tool_use_id": null,
        "message": { "role": "user", "content": content } });
    client.command(json!({ "type": "user_message", "data": message })).await;
    client.until(|frame| frame["data"]["type"] == "result").await;
    let heard: Value = serde_json::from_str(&lines(&server, "heard")[0]).unwrap();
    assert_eq!(heard["message"]["content"], content);
}
