//! SSE, NDJSON, pages and `WebSocket`s are views of one cursor: the same records, resumed anywhere.

use serde_json::{Value, json};
use support::http::Answer;
use support::{Event, Server, Sse, assert_no_holes, joined};

/// Both streams, a partial line, bytes that are no text.
const SCRIPT: &str = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done; printf '\\377\\n'; printf end";

async fn rest(mut sse: Sse) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(event) = sse.next().await {
        events.push(event);
    }
    events
}

/// The records of an SSE stream that has ended properly.
fn records(events: &[Event]) -> Vec<Value> {
    let (end, events) = events.split_last().unwrap();
    assert_eq!(
        (end.event.as_str(), end.id),
        ("end", None),
        "the stream ends with `end`"
    );
    events
        .iter()
        .map(|event| {
            let record: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(record["seq"], json!(event.id), "id is the seq");
            assert_eq!(record["type"], json!(event.event), "event is the type");
            record
        })
        .collect()
}

fn ndjson(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn read_ndjson(server: &Server, path: &str) -> Vec<Value> {
    let request = server.request("GET", path).header("accept", "application/x-ndjson");
    let answer = Answer::of(request).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/x-ndjson")
    );
    ndjson(&answer.bytes)
}

#[tokio::test]
async fn all_transports_show_the_same_records() {
    let server = Server::start().await;
    let id = server.shell(SCRIPT).await;
    let last = server.settled(&id).await["last_seq"].as_u64().unwrap();
    let path = format!("/v1/sessions/{id}/events");
    let all = server.follow(&id).await;
    assert_eq!(all.len(), usize::try_from(last).unwrap());
    assert_no_holes(&all, 1);
    let journal = std::fs::read(server.session_folder(&id).join("journal.ndjson")).unwrap();
    let whole = server.request("GET", &path).header("accept", "application/x-ndjson");
    assert_eq!(Answer::of(whole).await.bytes, journal, "NDJSON is the file's bytes");
    for after in 0..=last {
        let wanted = &all[usize::try_from(after).unwrap()..];
        let sse = server.sse(&format!("{path}?after={after}"), None).await;
        assert_eq!(records(&rest(sse).await), wanted, "SSE after {after}");
        let resumed = server.sse(&path, Some(after)).await;
        assert_eq!(records(&rest(resumed).await), wanted, "SSE with Last-Event-ID {after}");
        let lines = read_ndjson(&server, &format!("{path}?after={after}&follow=false")).await;
        assert_eq!(lines, wanted, "NDJSON after {after}");
        let mut socket = server
            .ws(&format!("/v1/sessions/{id}/ws?after={after}&follow=false"))
            .await;
        assert_eq!(socket.rest().await, wanted, "WebSocket after {after}");
        let (mut pages, mut cursor) = (Vec::new(), after);
        while pages.len() < wanted.len() {
            let page = server
                .request("GET", &format!("{path}?after={cursor}&limit=3"))
                .header("accept", "application/json");
            let page = Answer::of(page).await.body;
            let events = page["events"].as_array().unwrap();
            assert!((1..=3).contains(&events.len()), "{page}");
            pages.extend(events.iter().cloned());
            cursor = page["next"].as_u64().unwrap();
            assert_eq!(json!(cursor), events.last().unwrap()["seq"]);
        }
        assert_eq!(pages, wanted, "pages after {after}");
        let beyond = server
            .request("GET", &format!("{path}?after={last}"))
            .header("accept", "application/json");
        assert_eq!(Answer::of(beyond).await.body, json!({ "events": [], "next": last }));
    }
    // A browser that comes back sends both; the header knows more.
    let both = server.sse(&format!("{path}?after=0"), Some(last)).await;
    assert_eq!(records(&rest(both).await), Vec::<Value>::new());
    assert_eq!(joined(&all, "stdout"), server.output(&id, "stdout").await);
    assert_eq!(joined(&all, "stderr"), server.output(&id, "stderr").await);
}

#[tokio::test]
async fn live_reader_gets_past_and_new_records_and_the_end() {
    let server = Server::start().await;
    let id = server
        .shell("echo before; until test -e go; do sleep 0.02; done; echo after")
        .await;
    let path = format!("/v1/sessions/{id}/events");
    let mut sse = server.sse(&path, None).await;
    while sse.next().await.unwrap().event != "stdout" {}
    // Not following: what is there now, though the turn runs.
    let now = read_ndjson(&server, &format!("{path}?follow=false")).await;
    assert_eq!(now.last().unwrap()["data"], "before");
    let not_following = rest(server.sse(&format!("{path}?follow=false"), None).await).await;
    assert_eq!(records(&not_following), now);
    let mut socket = server.ws(&format!("/v1/sessions/{id}/ws")).await;
    socket.until(|message| message["data"] == "before").await;
    server.touch("go");
    let end = rest(sse).await;
    let types: Vec<_> = end.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(types, ["stdout", "exited", "turn_ended", "end"]);
    let tail = socket.until(|message| message["type"] == "turn_ended").await;
    assert_eq!(tail.first().unwrap()["data"], "after");
}

#[tokio::test]
async fn session_without_output_can_be_followed() {
    let mut server = Server::start().await;
    let id = server.create(json!({})).await;
    for restarted in [false, true] {
        assert_eq!(server.records(&id).await, Vec::<Value>::new());
        assert_eq!(server.output(&id, "stdout").await, b"");
        let page = server
            .request("GET", &format!("/v1/sessions/{id}/events"))
            .header("accept", "application/json");
        assert_eq!(Answer::of(page).await.body, json!({ "events": [], "next": 0 }));
        if !restarted {
            server.kill();
            server.start_again().await;
        }
    }
    // A follower who was there before the first prompt sees it all, and the end.
    let following = server.sse(&format!("/v1/sessions/{id}/events"), None).await;
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "echo hi" }))
        .await;
    let seen = records(&rest(following).await);
    assert_eq!(joined(&seen, "stdout"), b"hi\n");
    assert_no_holes(&seen, 1);
}

#[tokio::test]
async fn create_and_prompt_can_answer_with_the_stream() {
    let server = Server::start().await;
    let mut id = String::new();
    for form in ["text/event-stream", "application/x-ndjson"] {
        let create = server.request("POST", "/v1/sessions").header("accept", form);
        let answer = Answer::of(create.json(&json!({ "prompt": SCRIPT }))).await;
        assert_eq!((answer.status, answer.header("content-type")), (201, form));
        answer.header("promptd-session").clone_into(&mut id);
        assert_eq!(answer.header("location"), format!("/v1/sessions/{id}"));
        let seen = streamed(&answer, form);
        assert_eq!(seen, server.records(&id).await);
        assert_eq!(seen.last().unwrap()["type"], "turn_ended");
    }
    // A turn that waits: only its own records come, and the stream ends with it though another follows.
    let prompts = format!("/v1/sessions/{id}/prompts");
    for form in ["text/event-stream", "application/x-ndjson"] {
        let go = server.workspace().join("go");
        let _old = std::fs::remove_file(&go);
        let wait = json!({ "prompt": "echo first; until test -e go; do sleep 0.02; done" });
        let before = server.post(&prompts, wait).await["turn"].as_u64().unwrap();
        let mine = usize::try_from(before).unwrap() + 1;
        let second = server.request("POST", &prompts).header("accept", form);
        let second = tokio::spawn(Answer::of(second.json(&json!({ "prompt": "echo mine" }))));
        server
            .session_when(&id, |session| session["turns"].as_array().unwrap().len() == mine)
            .await;
        server
            .post(&prompts, json!({ "prompt": "until ! test -e go; do sleep 0.02; done" }))
            .await;
        server.touch("go");
        let answer = second.await.unwrap();
        assert_eq!(answer.status, 202);
        let seen = streamed(&answer, form);
        assert!(seen.iter().all(|record| record["turn"] == json!(mine)), "{seen:?}");
        assert_eq!(joined(&seen, "stdout"), b"mine\n");
        assert_eq!(seen.first().unwrap()["type"], "prompt");
        assert_eq!(seen.last().unwrap()["type"], "turn_ended");
        std::fs::remove_file(&go).unwrap();
        server.settled(&id).await;
    }
}

fn streamed(answer: &Answer, form: &str) -> Vec<Value> {
    if form == "application/x-ndjson" {
        return ndjson(&answer.bytes);
    }
    let text = std::str::from_utf8(&answer.bytes).unwrap();
    let (head, rest) = text.split_once("\n\n").unwrap();
    assert_eq!(head, "retry: 1000");
    assert!(rest.ends_with("event: end\ndata: {}\n\n"), "{rest}");
    let data = rest.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "{}")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test]
async fn websocket_takes_commands_and_reports_errors() {
    let server = Server::start().await;
    let id = server.create(json!({ "stdin": "open" })).await;
    let mut socket = server.ws(&format!("/v1/sessions/{id}/ws")).await;
    let ack = |command: &'static str| move |message: &Value| message["type"] == "ack" && message["command"] == command;
    let ended = |message: &Value| message["type"] == "turn_ended";
    socket
        .command(json!({ "type": "prompt", "prompt": "cat; echo over" }))
        .await;
    let seen = socket.until(|message| message["type"] == "started").await;
    assert!(
        seen.iter()
            .any(|message| ack("prompt")(message) && message["turn"] == 1),
        "{seen:?}"
    );
    socket.command(json!({ "type": "input", "data": "hello\n" })).await;
    socket
        .until(|message| message["type"] == "stdout" && message["data"] == "hello")
        .await;
    socket
        .command(json!({ "type": "input", "data": "bye\n", "close": true }))
        .await;
    let seen = socket.until(ended).await;
    assert_eq!(joined(&seen, "stdout"), b"bye\nover\n");
    assert_eq!(seen.last().unwrap()["status"], "completed");

    for (command, cause) in [("interrupt", "interrupted"), ("stop", "stopped")] {
        socket
            .command(json!({ "type": "prompt", "prompt": "sleep 1000 & wait" }))
            .await;
        socket.until(|message| message["type"] == "started").await;
        socket.command(json!({ "type": command })).await;
        let (mut acked, mut over) = (None, None);
        while acked.is_none() || over.is_none() {
            let message = socket.next().await.unwrap();
            if ack(command)(&message) {
                acked = Some(message);
            } else if ended(&message) {
                over = Some(message);
            }
        }
        let over = over.unwrap();
        assert_eq!((&over["status"], &over["cause"]), (&json!("cancelled"), &json!(cause)));
        if command == "stop" {
            assert_eq!(acked.unwrap()["survivors"], 0);
        }
    }
    for (wrong, code) in [
        ("{\"type\":\"halt\"}", "invalid_field"),
        ("{\"type\":\"prompt\",\"promt\":\"x\"}", "unknown_field"),
        ("not JSON", "malformed_json"),
        ("{\"type\":\"interrupt\"}", "not_running"),
        ("{\"type\":\"input\",\"data\":\"x\"}", "not_running"),
        ("{\"type\":\"stop\",\"grace\":-1}", "invalid_field"),
    ] {
        socket.send(wrong).await;
        let answer = socket.next().await.unwrap();
        assert_eq!(
            (&answer["type"], &answer["code"]),
            (&json!("error"), &json!(code)),
            "{wrong}"
        );
        assert!(!answer["detail"].as_str().unwrap().is_empty());
    }
    // After all these mistakes the connection still works.
    socket.command(json!({ "type": "prompt", "prompt": "echo on" })).await;
    let seen = socket.until(ended).await;
    assert_eq!(joined(&seen, "stdout"), b"on\n");
    socket.close().await;
}

#[tokio::test]
async fn bare_websocket_takes_text_or_json_prompts() {
    let server = Server::start().await;
    let ended = |message: &Value| message["type"] == "turn_ended";
    for first in [
        "echo one".to_owned(),
        json!({ "prompt": "echo one", "agent": "shell", "metadata": { "by": "ws" } }).to_string(),
    ] {
        let mut socket = server.ws("/").await;
        socket.send(json!({ "promt": "typo" }).to_string()).await;
        assert_eq!(socket.next().await.unwrap()["code"], "unknown_field");
        socket.send(first).await;
        let seen = socket.until(ended).await;
        let ack = seen.iter().find(|message| message["type"] == "ack").unwrap();
        let id = ack["id"].as_str().unwrap().to_owned();
        assert_eq!((&ack["command"], &ack["turn"]), (&json!("create"), &json!(1)));
        assert_eq!(joined(&seen, "stdout"), b"one\n");
        socket.send("echo two").await;
        let seen = socket.until(ended).await;
        assert!(
            seen.iter()
                .any(|message| message["type"] == "ack" && message["turn"] == 2)
        );
        assert_eq!(joined(&seen, "stdout"), b"two\n");
        socket.send(json!({ "prompt": "echo three" }).to_string()).await;
        let seen = socket.until(ended).await;
        assert_eq!(
            (joined(&seen, "stdout"), &seen.last().unwrap()["turn"]),
            (b"three\n".to_vec(), &json!(3))
        );
        socket.close().await;
        assert_eq!(server.output(&id, "stdout").await, b"one\ntwo\nthree\n");
    }
}

#[tokio::test]
async fn output_can_be_read_by_range_and_by_turn() {
    let server = Server::start().await;
    let id = server.shell("echo 0123456789; printf '\\377abc' >&2").await;
    server.settled(&id).await;
    let prompt = json!({ "prompt": "printf second" });
    server.post(&format!("/v1/sessions/{id}/prompts"), prompt).await;
    server.settled(&id).await;
    let whole = b"0123456789\nsecond";
    let get = async |query: &str, range: &str| {
        let request = server.request("GET", &format!("/v1/sessions/{id}/output{query}"));
        Answer::of(if range.is_empty() {
            request
        } else {
            request.header("range", range)
        })
        .await
    };
    let answer = get("", "").await;
    assert_eq!((answer.status, &answer.bytes[..]), (200, &whole[..]));
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert!(answer.header("content-type").starts_with("text/plain"));
    for (range, from, to) in [
        ("bytes=0-3", 0, 4),
        ("bytes=2-2", 2, 3),
        ("bytes=9-12", 9, 13),
        ("bytes=5-", 5, 17),
        ("bytes=0-", 0, 17),
        ("bytes=11-900", 11, 17),
        ("bytes=-4", 13, 17),
        ("bytes=-900", 0, 17),
    ] {
        let answer = get("", range).await;
        assert_eq!((answer.status, &answer.bytes[..]), (206, &whole[from..to]), "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/17", to - 1));
        assert_eq!(answer.header("content-length"), (to - from).to_string());
    }
    for range in ["bytes=17-", "bytes=40-50", "bytes=-0"] {
        let answer = get("", range).await;
        assert_eq!(
            (answer.status, answer.code()),
            (416, "range_not_satisfiable"),
            "{range}"
        );
        assert_eq!(answer.header("content-range"), "bytes */17");
    }
    for ignored in ["bytes=5-2", "lines=1-2", "bytes=0-1,3-4"] {
        assert_eq!(get("", ignored).await.status, 200, "{ignored}");
    }
    let conditional = async |name: &str, value: &str| {
        let request = server.request("GET", &format!("/v1/sessions/{id}/output"));
        Answer::of(request.header("range", "bytes=0-3").header(name, value)).await
    };
    let tag = answer.header("etag");
    assert_eq!(conditional("if-range", tag).await.status, 206);
    assert_eq!(conditional("if-none-match", tag).await.status, 304);
    for other in ["\"other\"", &format!("W/{tag}"), "Sat, 21 Nov 2026 02:40:00 GMT"] {
        let answer = conditional("if-range", other).await;
        assert_eq!((answer.status, &answer.bytes[..]), (200, &whole[..]), "{other}");
    }
    assert_eq!(get("?turn=1", "").await.bytes, "0123456789\n");
    assert_eq!(get("?turn=2&stream=stdout", "").await.bytes, "second");
    assert_eq!(get("?turn=2", "bytes=2-").await.bytes, "cond");
    assert_eq!(get("?stream=stderr", "").await.bytes, &b"\xffabc"[..]);
    assert_eq!(get("?stream=stderr&turn=2", "").await.bytes, "");
}
