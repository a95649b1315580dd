//! A secret that an agent streams in parts, or writes in any spelling, is masked in every output, and nothing else changes.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::delivery::PATH as EVENTS;
use support::hostile::{Backend, UPDATES};
use support::http::Answer;
use support::{Server, of_type};

const SECRET: &str = "correct horse battery staple pepper lemon orbit velvet canyon marble tundra willow";

/// What the agent says, in parts; `#` is the secret, also cut into its words.
const PARTS: [&str; 4] = ["The password is cor", "rect#", ", of course", ". Goodbye 😀"];

/// A program that writes the lines.
fn program(name: &str, lines: &str) -> (PathBuf, String) {
    let folder = support::folder("programs");
    std::fs::write(folder.join("lines"), lines).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\ncat {}/lines\n", folder.display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    (folder, path)
}

/// The output of a claude that streams the parts as text, as thoughts and as the input of a tool.
fn claude_lines(parts: &[String]) -> String {
    let mut lines = String::new();
    let mut line = |value: Value| writeln!(lines, "{value}").unwrap();
    let event =
        |event: Value| json!({ "type": "stream_event", "event": event, "parent_tool_use_id": null, "session_id": "s" });
    let whole = parts.concat();
    line(json!({ "type": "system", "subtype": "init", "session_id": "s", "model": "m", "tools": [] }));
    line(event(
        json!({ "type": "message_start", "message": { "content": [], "role": "assistant" } }),
    ));
    for (index, (kind, key)) in [
        ("thinking", "thinking"),
        ("text", "text"),
        ("input_json", "partial_json"),
    ]
    .iter()
    .enumerate()
    {
        let block = if *kind == "input_json" { "tool_use" } else { kind };
        line(event(
            json!({ "type": "content_block_start", "index": index, "content_block": { "type": block } }),
        ));
        for part in parts {
            let delta = json!({ "type": format!("{kind}_delta"), *key: part });
            line(event(
                json!({ "type": "content_block_delta", "index": index, "delta": delta }),
            ));
        }
        let content = match block {
            "tool_use" => json!({ "type": block, "id": "t", "name": "Bash", "input": { "command": whole } }),
            block => json!({ "type": block, *key: whole }),
        };
        line(
            json!({ "type": "assistant", "message": { "role": "assistant", "content": [content] }, "session_id": "s" }),
        );
        line(event(json!({ "type": "content_block_stop", "index": index })));
    }
    line(json!({ "type": "result", "subtype": "success", "is_error": false, "result": whole, "session_id": "s" }));
    lines
}

async fn lines(server: &Server, id: &str, query: &str) -> Vec<Value> {
    let path = format!("/v1/sessions/{id}/events?follow=false{query}");
    let answer = Answer::of(server.request("GET", &path).header("accept", "application/x-ndjson")).await;
    let lines = answer
        .bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// The text of all chunks of a kind.
fn said(updates: &[Value], kind: &str) -> String {
    let updates = updates.iter().map(|line| &line["update"]);
    let chunks = updates.filter(|update| update["sessionUpdate"] == kind);
    chunks.map(|chunk| chunk["content"]["text"].as_str().unwrap()).collect()
}

fn assert_hidden(what: &str, text: &str) {
    for word in SECRET.split(' ') {
        assert!(!text.contains(word), "{what} shows {word:?}:\n{text}");
    }
}

#[tokio::test]
async fn secret_in_deltas_leaves_nowhere_and_the_answer_once() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let rest = SECRET.strip_prefix("correct").unwrap();
    let parts: Vec<String> = PARTS
        .iter()
        .flat_map(|part| match part.split_once('#') {
            Some((before, _)) => [
                vec![before.to_owned()],
                rest.split_inclusive(' ').map(str::to_owned).collect(),
            ]
            .concat(),
            None => vec![(*part).to_owned()],
        })
        .collect();
    let (folder, path) = program("claude", &claude_lines(&parts));
    let sinks = json!([
        { "kind": "http", "name": "raw", "url": backend.url(EVENTS) },
        { "kind": "http", "name": "updates", "url": backend.url(UPDATES), "view": "updates" },
        { "kind": "webhook", "name": "hook", "url": backend.url("/hook") },
    ]);
    let request =
        json!({ "agent": "claude", "prompt": "hi", "sinks": sinks, "env": { "PASSPHRASE": SECRET, "PATH": path } });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(
        session["turns"][0]["result"], "The password is ***, of course. Goodbye 😀",
        "{session}"
    );
    let updates = lines(&server, &id, "&view=updates").await;
    let shown = "The password is cor***, of course. Goodbye 😀";
    assert_eq!(said(&updates, "agent_message_chunk"), shown);
    assert_eq!(said(&updates, "agent_thought_chunk"), shown);
    let events = format!("/v1/sessions/{id}/events?follow=false");
    for (accept, view) in [
        ("text/event-stream", ""),
        ("application/json", ""),
        ("text/event-stream", "&view=updates"),
        ("application/json", "&view=updates"),
    ] {
        let answer = Answer::of(
            server
                .request("GET", &format!("{events}{view}"))
                .header("accept", accept),
        )
        .await;
        assert_eq!(answer.status, 200);
        assert_hidden(accept, &answer.text());
    }
    let mut socket = server.ws(&format!("/v1/sessions/{id}/ws?follow=false")).await;
    assert_hidden("WebSocket", &json!(socket.rest().await).to_string());
    assert_hidden("the session", &session.to_string());
    let output = String::from_utf8(server.output(&id, "stdout").await).unwrap();
    assert_hidden("the output", &output);
    // Every line can still be read, and all others are the same.
    let exact = claude_lines(&parts);
    for (shown, exact) in output.lines().zip(exact.lines()) {
        let _valid: Value = serde_json::from_str(shown).unwrap();
        assert!(
            shown == exact || shown.contains("***") || exact.contains("_delta"),
            "{shown}"
        );
    }
    assert_eq!(output.lines().count(), exact.lines().count());
    // A reader may come back anywhere, and gets the same.
    let all = lines(&server, &id, "").await;
    for after in 0..all.len() {
        assert_eq!(lines(&server, &id, &format!("&after={after}")).await, &all[after..]);
    }
    let last = u64::try_from(all.len()).unwrap();
    for path in [EVENTS, UPDATES] {
        backend.wait_for_record(path, &id, last).await;
    }
    backend
        .wait_until("the webhook", |log| {
            log.requests.iter().any(|seen| seen.request.path == "/hook")
        })
        .await;
    for request in backend.requests() {
        assert_hidden(&request.request.path, &String::from_utf8_lossy(&request.request.body));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn secret_that_is_a_word_of_the_format_breaks_nothing() {
    let server = Server::start().await;
    let parts = ["a content_", "block of text", "_delta"].map(str::to_owned);
    let (folder, path) = program("claude", &claude_lines(&parts));
    let env = json!({ "ANY_KEY": "content_block", "OTHER_KEY": "text_delta", "THIRD_KEY": "subtype", "PATH": path });
    let id = server
        .create(json!({ "agent": "claude", "prompt": "hi", "env": env }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(
        (&session["turns"][0]["status"], &session["turns"][0]["result"]),
        (&json!("completed"), &json!("a *** of ***"))
    );
    let updates = lines(&server, &id, "&view=updates").await;
    assert_eq!(said(&updates, "agent_message_chunk"), "a *** of ***");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn no_spelling_in_output_shows_a_secret() {
    let server = Server::start().await;
    let key = "sk/4711?abc+defghij";
    let twice = serde_json::to_string(&json!({ "out": json!({ "key": key }).to_string() })).unwrap();
    let script = format!(
        r#"echo '{twice}'
        echo '{{"key":"sk\u002f4711\u003fabc\u002Bdefghij"}}'
        echo '{{"out":"{{\"key\":\"sk\\u002f4711?abc+\\u0064efghij\"}}"}}'
        echo 'sk%2F4711%3fabc%2Bdefghij sk%252F4711%253Fabc%252Bdefghij'
        for n in 1 20 40 41 42 43 44 45 46 47 48 49 50 51 52; do
            printf "%0${{n}}d:%s@and-so-on-until-there-are-two-lines-of-it\n" 0 "$API_KEY" | base64
        done
        echo "pin $DOOR_PIN""#
    );
    let env =
        json!({ "API_KEY": key, "DOOR_PIN_CODE_KEY": "471147", "DOOR_PIN": "471147", "MAX_OUTPUT_TOKENS": "128000" });
    let id = server
        .create(json!({ "agent": "shell", "prompt": script, "env": env }))
        .await;
    server.settled(&id).await;
    let output = String::from_utf8(server.output(&id, "stdout").await).unwrap();
    let shown: Vec<&str> = output.lines().take(4).collect();
    assert_eq!(shown[0], r#"{"out":"{\"key\":\"***\"}"}"#);
    assert_eq!(
        shown[1..],
        [r#"{"key":"***"}"#, r#"{"out":"{\"key\":\"***\"}"}"#, "*** ***"]
    );
    assert!(output.ends_with("pin ***\n"), "{output}");
    let flat = output.replace('\n', "");
    for skipped in 0..3 {
        let part = STANDARD.encode(&key.as_bytes()[skipped..skipped + 15]);
        for part in part
            .as_bytes()
            .windows(8)
            .map(|part| std::str::from_utf8(part).unwrap())
        {
            assert!(!flat.contains(part), "{part} in {output}");
        }
    }
    assert!(of_type(&server.records(&id).await, "stdout").len() > 20);
}

#[tokio::test]
async fn replaced_storage_key_stays_masked() {
    let (backend, mut server) = (Backend::start(), Server::start().await);
    let storage = |key: &str| json!({ "type": "postgresql", "apiUrl": backend.origin(), "apiKey": key });
    let request = |key: &str| json!({ "agentId": "a", "sessionId": "s-1", "agent": "shell", "prompt": "echo first-key-4711 second-key-4712", "storage": storage(key) });
    for key in ["first-key-4711", "second-key-4712"] {
        server.post("/execute", request(key)).await;
        server.settled("s-1").await;
    }
    assert_eq!(server.output("s-1", "stdout").await, b"*** ***\n*** ***\n");
    server.kill();
    server.start_again().await;
    assert_eq!(server.output("s-1", "stdout").await, b"*** ***\n*** ***\n");
}

#[tokio::test]
async fn secrets_in_arguments_and_urls_of_mcp_servers_are_masked() {
    let server = Server::start().await;
    let (folder, path) = program(
        "claude",
        &claude_lines(&["argument-4711 query-4712 path4713Aa4713Bb plain".to_owned()]),
    );
    let servers = json!({
        "one": { "command": "true", "args": ["--api-key", "argument-4711", "--verbose", "plain"] },
        "two": { "url": "https://localhost:1/path4713Aa4713Bb/mcp?anything=query-4712" },
    });
    let request = json!({ "agent": "claude", "prompt": "hi", "mcp_servers": servers, "env": { "PATH": path } });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "*** *** *** plain", "{session}");
    std::fs::remove_dir_all(folder).unwrap();
}
