//! `view=updates` is one more view of the same cursor: what an agent says, in words that are the same for all agents,
//! and nothing is dropped, wherever a reader comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use support::hostile::{Act, Backend, Reply, UPDATES, judge};
use support::http::Answer;
use support::{Event, Server, Sse, assert_same_bytes};

/// Both streams, lines that are written in parts, bytes that are no text, last words without a newline.
const SCRIPT: &str = "for i in 1 2 3; do echo out $i; printf 'err ' >&2; sleep 0.05; echo $i >&2; done; \
    printf '\\377\\n'; printf 'x\\303' ; sleep 0.05; printf '\\244\\n'; printf end; printf why >&2";

async fn rest(mut sse: Sse) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = sse.next().await {
        events.push(event);
    }
    let end = events.pop().unwrap();
    assert_eq!(
        (end.event.as_str(), end.id),
        ("end", None),
        "the stream ends with `end`"
    );
    events
}

/// The lines of a stream's events; each is called what it is, and the last one from a record has its id.
fn lines(events: &[Event]) -> Vec<Value> {
    let lines: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str(&event.data).unwrap())
        .collect();
    for (at, (event, line)) in events.iter().zip(&lines).enumerate() {
        let kind = line["type"].as_str().unwrap_or("update");
        assert_eq!(
            (event.event.as_str(), kind == "update"),
            (kind, line["update"].is_object())
        );
        let last = lines.get(at + 1).is_none_or(|next| next["seq"] != line["seq"]);
        assert_eq!(event.id, last.then(|| line["seq"].as_u64().unwrap()), "{line}");
    }
    lines
}

/// The bytes of a stream, from the updates that came of them.
fn said(lines: &[Value], stream: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for update in lines.iter().map(|line| &line["update"]) {
        if update["sessionUpdate"] == "agent_message_chunk" && stream == "stdout" {
            bytes.extend_from_slice(update["content"]["text"].as_str().unwrap().as_bytes());
        }
        if update["sessionUpdate"] == "_raw" && update["stream"] == stream {
            match update["line"].as_str() {
                Some(line) => bytes.extend_from_slice(line.as_bytes()),
                None => bytes.extend(BASE64.decode(update["base64"].as_str().unwrap()).unwrap()),
            }
            if update["eol"] != json!(false) {
                bytes.push(b'\n');
            }
        }
    }
    bytes
}

async fn ndjson(server: &Server, method: &str, path: &str, body: Value) -> Vec<Value> {
    let request = server.request(method, path).header("accept", "application/x-ndjson");
    let request = if body.is_null() { request } else { request.json(&body) };
    let answer = Answer::of(request).await;
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
    let text = std::str::from_utf8(&answer.bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn view(server: &Server, id: &str) -> Vec<Value> {
    ndjson(
        server,
        "GET",
        &format!("/v1/sessions/{id}/events?view=updates"),
        Value::Null,
    )
    .await
}

#[tokio::test]
async fn all_transports_show_the_same_updates() {
    let server = Server::start().await;
    let id = server.shell(SCRIPT).await;
    let path = format!("/v1/sessions/{id}/events?view=updates");
    let live = rest(server.sse(&path, None).await).await;
    let all = lines(&live);
    let last = server.settled(&id).await["last_seq"].as_u64().unwrap();
    for stream in ["stdout", "stderr"] {
        assert_eq!(said(&all, stream), server.output(&id, stream).await, "{stream}");
    }
    let text: String = all
        .iter()
        .filter_map(|line| line["update"]["content"]["text"].as_str())
        .collect();
    assert_eq!(text, format!("{SCRIPT}out 1\nout 2\nout 3\nx\u{e4}\nend"));
    assert_eq!(all[0]["update"]["sessionUpdate"], "user_message_chunk");
    // What is no output is as in the other view.
    let raw = server.records(&id).await;
    let others = |lines: &[Value]| -> Vec<Value> {
        let kinds = ["started", "exited", "turn_ended"];
        let others = lines
            .iter()
            .filter(|line| kinds.iter().any(|kind| line["type"] == *kind));
        others.cloned().collect()
    };
    assert_eq!(others(&all), others(&raw));
    for after in 0..=last {
        let wanted: Vec<Value> = all
            .iter()
            .filter(|line| line["seq"].as_u64() > Some(after))
            .cloned()
            .collect();
        let resumed = rest(server.sse(&path, Some(after)).await).await;
        assert_eq!(lines(&resumed), wanted, "SSE with Last-Event-ID {after}");
        let part = ndjson(
            &server,
            "GET",
            &format!("{path}&after={after}&follow=false"),
            Value::Null,
        )
        .await;
        assert_eq!(part, wanted, "NDJSON after {after}");
        let socket = format!("/v1/sessions/{id}/ws?view=updates&after={after}&follow=false");
        assert_eq!(server.ws(&socket).await.rest().await, wanted, "WebSocket after {after}");
        let (mut pages, mut cursor) = (Vec::new(), after);
        while cursor < last {
            let page = server
                .request("GET", &format!("{path}&after={cursor}&limit=2"))
                .header("accept", "application/json");
            let page = Answer::of(page).await.body;
            pages.extend(page["events"].as_array().unwrap().iter().cloned());
            let next = page["next"].as_u64().unwrap();
            assert!(next > cursor, "{page}");
            cursor = next;
        }
        assert_eq!(pages, wanted, "pages after {after}");
    }
    let ahead = server
        .ask("GET", &format!("{path}&after={}", last + 1), &Value::Null)
        .await;
    assert_eq!((ahead.status, ahead.code()), (416, "cursor_ahead"));
}

#[tokio::test]
async fn updates_arrive_while_the_agent_works() {
    let server = Server::start().await;
    let id = server
        .shell("echo before; printf half >&2; until test -e go; do sleep 0.02; done; echo ' whole' >&2; printf after")
        .await;
    let path = format!("/v1/sessions/{id}/events?view=updates");
    let mut sse = server.sse(&path, None).await;
    let mut socket = server.ws(&format!("/v1/sessions/{id}/ws?view=updates")).await;
    let before = |line: &Value| line["update"]["content"]["text"] == "before\n";
    socket.until(before).await;
    let cursor = loop {
        let event = sse.next().await.unwrap();
        if before(&serde_json::from_str(&event.data).unwrap()) {
            break event.id;
        }
    };
    // Half a line is in the journal, and a reader who comes behind it still gets the whole.
    server.record(&id, "stderr").await;
    let seen = server.records(&id).await.len();
    let mut behind = server.sse(&path, Some(u64::try_from(seen).unwrap())).await;
    server.touch("go");
    let first = behind.next().await.unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&first.data).unwrap()["update"],
        json!({ "sessionUpdate": "_raw", "stream": "stderr", "line": "half whole" })
    );
    let tail = rest(sse).await;
    assert_eq!(lines(&tail), lines(&rest(server.sse(&path, cursor).await).await));
    let ended = socket.until(|line| line["type"] == "turn_ended").await;
    assert_eq!(ended, lines(&tail));
}

#[tokio::test]
async fn create_prompt_and_bare_socket_support_updates() {
    let server = Server::start().await;
    let texts = |lines: &[Value]| -> Vec<Value> {
        let texts = lines.iter().map(|line| line["update"]["content"]["text"].clone());
        texts.filter(Value::is_string).collect()
    };
    let created = ndjson(
        &server,
        "POST",
        "/v1/sessions?view=updates",
        json!({ "id": "spoken", "prompt": "echo one" }),
    )
    .await;
    assert_eq!(texts(&created), ["echo one", "one\n"]);
    assert_eq!(created.last().unwrap()["type"], "turn_ended");
    let path = "/v1/sessions/spoken/prompts?view=updates";
    let prompted = ndjson(&server, "POST", path, json!({ "prompt": "echo two" })).await;
    assert_eq!(texts(&prompted), ["echo two", "two\n"]);
    assert!(prompted.iter().all(|line| line["turn"] == 2), "{prompted:?}");
    let mut socket = server.ws("/?view=updates").await;
    socket.send("echo three").await;
    let seen = socket.until(|line| line["type"] == "turn_ended").await;
    assert_eq!(texts(&seen), ["echo three", "three\n"]);
    for path in ["/v1/sessions?view=update", "/v1/sessions/spoken/prompts?view=x"] {
        let refused = server.ask("POST", path, &json!({ "prompt": "true" })).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_parameter"), "{path}");
    }
}

#[tokio::test]
async fn garbage_and_very_long_lines_arrive_whole() {
    let server = Server::start().await;
    let long = "head -c 20971520 /dev/zero | tr '\\0' y";
    let script = format!("head -c 300000 /dev/urandom | tee /dev/fd/2; {long} >&2; echo >&2; {long}; echo over >&2");
    let id = server.shell(&script).await;
    server.settled(&id).await;
    let all = view(&server, &id).await;
    for stream in ["stdout", "stderr"] {
        assert_same_bytes(stream, &said(&all, stream), &server.output(&id, stream).await);
    }
    let over = all
        .iter()
        .rev()
        .find(|line| line["update"]["stream"] == "stderr")
        .unwrap();
    assert_eq!(
        over["update"]["line"], "over",
        "behind a long line others are whole again"
    );
}

#[tokio::test]
async fn updates_view_masks_secrets() {
    let server = Server::start().await;
    let secret = "s3cret-\"quoted\"-value";
    let script = "echo \"out $API_KEY\"; echo \"err $API_KEY\" >&2; printf 'x%.9s' \"$API_KEY\" >&2; sleep 0.2; \
        echo \"${API_KEY#?????????}\" >&2; printf '\\377%s\\n' \"$API_KEY\"";
    let request = json!({ "agent": "shell", "prompt": script, "env": { "API_KEY": secret } });
    let id = server.create(request).await;
    server.settled(&id).await;
    let all = view(&server, &id).await;
    let texts = [said(&all, "stdout"), said(&all, "stderr")].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    for text in &texts {
        assert!(!text.contains("quoted") && !text.contains("value"), "{text}");
        assert!(text.contains("***"), "{text}");
    }
    assert_eq!(texts.map(|text| text.lines().count()), [2, 2]);
}

#[tokio::test]
async fn backend_gets_the_same_updates_on_every_retry() {
    let (backend, mut server) = (Backend::start(), Server::start().await);
    // Every third attempt is taken over and not answered, and every fifth is too large.
    backend.script(|arrival| match (arrival.tries, arrival.number % 5) {
        (0, 2) => Act::ResetAfterCommit,
        (0, 3) => Act::AtMost(2 << 10),
        (0, 4) => Act::Answer(Reply::status(503)),
        _ => Act::Answer(Reply::ok()),
    });
    let script = "n=0; until [ -e done ]; do n=$((n+1)); echo \"line $n\"; printf \"part $n \" >&2; sleep 0.01; done; \
        echo >&2; printf end";
    let sinks = json!([{ "kind": "http", "name": "backend", "url": backend.url(UPDATES), "view": "updates" }]);
    let id = server.pushed(script, sinks).await;
    for round in 0..5 {
        let known = backend.look(|log| log.last_seq(UPDATES, &id));
        backend.wait_for_record(UPDATES, &id, known + 10 + round).await;
        server.kill();
        server.start_again().await;
    }
    server.touch("done");
    server.settled(&id).await;
    backend.behave();
    let last = u64::try_from(server.records(&id).await.len()).unwrap();
    backend.wait_for_record(UPDATES, &id, last).await;
    let shown = view(&server, &id).await;
    let judged = judge(&backend, UPDATES);
    judged.assert_all(&id, &shown);
    let sent = &judged.0[&id];
    assert!(sent.batches > 5 && sent.duplicates > 0, "{} batches", sent.batches);
    let parts = said(&sent.records, "stderr");
    assert_same_bytes("stderr", &parts, &server.output(&id, "stderr").await);
    // One line, which hardly any batch has whole.
    assert_eq!(parts.iter().filter(|byte| **byte == b'\n').count(), 1);
}
