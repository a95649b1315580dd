//! What an agent writes reaches every reader, whole and in order.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::frozen::output_behind_a_frozen_keeper;
use support::http::Answer;
use support::{
    Server, WebSocket, assert_no_holes, assert_same_bytes, joined, of_type, procs, touch, wait_until, within,
};
use tokio_tungstenite::tungstenite::Message;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn lines_arrive_as_written() {
    let server = Server::start().await;
    let id = server.shell("echo hello; echo oops >&2; printf 'no newline'").await;
    let records = server.follow(&id).await;
    assert_no_holes(&records, 1);
    assert_eq!(joined(&records, "stdout"), b"hello\nno newline");
    assert_eq!(joined(&records, "stderr"), b"oops\n");
    assert_eq!(server.output(&id, "stdout").await, b"hello\nno newline");
    assert_eq!(server.settled(&id).await["status"], json!("completed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_thousand_lines_reach_all_three_transports() {
    let server = Server::start().await;
    let id = server.shell("seq -f '%0199.0f' 1 100000").await;
    let events = format!("/v1/sessions/{id}/events");
    let (sse, ndjson, websocket) = tokio::join!(
        async { all_of_sse(&server, &events).await },
        async { all_of_ndjson(&server, &events).await },
        async { all_of_websocket(server.websocket(&format!("/v1/sessions/{id}/ws")).await).await },
    );
    assert!(sse == ndjson, "SSE and NDJSON differ");
    assert!(websocket == ndjson, "WebSocket and NDJSON differ");
    let records: Vec<Value> = ndjson.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_no_holes(&records, 1);
    let expected: String = (1..=100_000).map(|n| format!("{n:0199}\n")).collect();
    assert_same_bytes("the records", &joined(&records, "stdout"), expected.as_bytes());
    assert_same_bytes("/output", &server.output(&id, "stdout").await, expected.as_bytes());
    assert_eq!(of_type(&records, "gap"), Vec::<&Value>::new());
}

/// All lines of journal that an SSE stream has, whose ids are checked against their content.
async fn all_of_sse(server: &Server, path: &str) -> Vec<String> {
    let mut sse = server.sse(path, None).await;
    let mut lines = Vec::new();
    while let Some(event) = sse.next().await {
        if event.event == "end" {
            return lines;
        }
        let begin = format!("{{\"seq\":{},", event.id.unwrap());
        assert!(event.data.starts_with(&begin), "id and record differ: {event:?}");
        lines.push(event.data);
    }
    panic!("the stream broke off after {} records", lines.len());
}

async fn all_of_ndjson(server: &Server, path: &str) -> Vec<String> {
    let request = server.request("GET", path).header("accept", "application/x-ndjson");
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.ends_with('\n'), "a torn line");
    text.lines().map(str::to_owned).collect()
}

/// A WebSocket stays open for more turns; the first one's end is enough here.
async fn all_of_websocket(mut socket: WebSocket) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    while !lines
        .last()
        .is_some_and(|line| line.contains("\"type\":\"turn_ended\""))
    {
        let message = within("the next message", socket.next()).await;
        let message = message.expect("the socket was closed").unwrap();
        if message.is_text() {
            lines.push(message.to_text().unwrap().to_owned());
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_on_both_streams_arrive_unchanged() {
    let server = Server::start().await;
    let half = 16 * MIB;
    let id = server
        .shell(&format!(
            "(head -c {half} /dev/urandom | tee out.bin) & (head -c {half} /dev/urandom | tee err.bin >&2) & wait"
        ))
        .await;
    let records = server.follow(&id).await;
    assert_no_holes(&records, 1);
    for (stream, file) in [("stdout", "out.bin"), ("stderr", "err.bin")] {
        let written = std::fs::read(server.workspace().join(file)).unwrap();
        assert_eq!(written.len(), half);
        assert_same_bytes(stream, &joined(&records, stream), &written);
        assert_same_bytes("/output", &server.output(&id, stream).await, &written);
        // A byte's place is the same for whoever asks for a part only.
        let (from, to) = (5 * MIB + 3, 5 * MIB + 70_001);
        let path = format!("/v1/sessions/{id}/output?stream={stream}");
        let request = server
            .request("GET", &path)
            .header("range", format!("bytes={from}-{to}"));
        let part = request.send().await.unwrap();
        assert_eq!(part.status(), 206);
        assert_same_bytes("a range", &part.bytes().await.unwrap(), &written[from..=to]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn line_of_64_mib_arrives_as_one_line() {
    let server = Server::start().await;
    let length = 64 * MIB;
    let id = server
        .shell(&format!("head -c {length} /dev/zero | tr '\\0' x; echo; echo behind"))
        .await;
    let records = server.follow(&id).await;
    assert_no_holes(&records, 1);
    let mut expected = vec![b'x'; length];
    expected.extend_from_slice(b"\nbehind\n");
    assert_same_bytes("the records", &joined(&records, "stdout"), &expected);
    let ends = of_type(&records, "stdout")
        .iter()
        .filter(|record| record["eol"] != json!(false))
        .count();
    assert_eq!(ends, 2, "only the end of a line is marked as one");
    assert_same_bytes("/output", &server.output(&id, "stdout").await, &expected);
    assert!(
        procs::memory(server.pid(), "VmHWM") < 64 << 20,
        "the server held the line in memory"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompt_of_12_megabytes_reaches_the_agent() {
    let server = Server::with()
        .config("[agents.echo]\ncommand = [\"cat\"]\n")
        .start()
        .await;
    // Quotes, a backslash, a multi-byte letter and control characters: what escaping could get wrong.
    let line = "0123 \"quoted\" \\ \u{e4} \u{1f600} \t\u{1}".repeat(100);
    let prompt = (line + "\r\n").repeat(5_000);
    assert!(prompt.len() > 12_000_000, "{}", prompt.len());
    let id = server.create(json!({ "agent": "echo", "prompt": prompt })).await;
    assert_eq!(server.settled(&id).await["status"], json!("completed"));
    assert_same_bytes("the echo", &server.output(&id, "stdout").await, prompt.as_bytes());
    let records = server.records(&id).await;
    assert!(
        records[0]["text"].as_str() == Some(&prompt),
        "the journal has another prompt"
    );
}

#[tokio::test]
async fn output_of_an_exited_agent_survives_a_frozen_keeper() {
    let server = Server::start().await;
    let program = "tr '\\0' n < /dev/zero | head -c 1048575; echo";
    let output = output_behind_a_frozen_keeper(&server, program).await;
    let mut expected = vec![b'n'; MIB];
    expected[MIB - 1] = b'\n';
    assert_same_bytes("/output", &output, &expected);
}

#[tokio::test]
async fn truncated_output_leaves_a_gap_record() {
    let server = Server::start().await;
    // `tee /dev/stderr` opens the file behind it anew, and empties it.
    let id = server
        .shell("echo first >&2; until [ -e go ]; do sleep 0.01; done; echo again | tee /dev/stderr")
        .await;
    server.record(&id, "stderr").await;
    touch(&server.workspace().join("go"));
    let records = server.follow(&id).await;
    let kinds: Vec<(&str, &str)> = records
        .iter()
        .filter(|record| record["type"] == "stderr" || record["type"] == "gap")
        .map(|record| {
            (
                record["type"].as_str().unwrap(),
                record["data"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let expected = [("stderr", "first"), ("gap", ""), ("stderr", "again")];
    assert_eq!(kinds, expected);
    let gap = of_type(&records, "gap")[0];
    assert_eq!(
        (&gap["stream"], &gap["bytes"]),
        (&json!("stderr"), &json!(0)),
        "all of it had been read"
    );
    assert_eq!(server.output(&id, "stdout").await, b"again\n");
    assert_eq!(server.output(&id, "stderr").await, b"first\nagain\n");
}

#[tokio::test]
async fn output_truncated_before_reading_leaves_a_gap() {
    let server = Server::start().await;
    let script = "until [ -e go ]; do sleep 0.01; done; echo first >&2; echo again | tee /dev/stderr";
    let id = server.shell(script).await;
    server.record(&id, "started").await;
    // A keeper that sleeps at the wrong moment.
    let keeper = procs::keepers(&server.home())[0];
    let agent: i32 = server.record(&id, "started").await["pid"]
        .as_i64()
        .unwrap()
        .try_into()
        .unwrap();
    procs::signal(keeper, "STOP");
    touch(&server.workspace().join("go"));
    wait_until("the agent's exit, its keeper frozen", || !procs::lives(agent)).await;
    procs::signal(keeper, "CONT");
    let records = server.follow(&id).await;
    let gaps = of_type(&records, "gap");
    assert_eq!(gaps.len(), 1, "{records:?}");
    assert_eq!(gaps[0]["stream"], json!("stderr"));
    assert_eq!(server.output(&id, "stdout").await, b"again\n");
    assert_eq!(server.output(&id, "stderr").await, b"again\n");
}

/// Line breaks that JSON allows within a text, and that many readers of lines take for ends.
const BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

#[tokio::test]
async fn json_that_leaves_has_no_line_break_of_unicode() {
    let server = Server::start().await;
    let odd = "a\u{85}b\u{2028}c\u{2029}d";
    // Also in a line that comes in many pieces, at every distance from their ends.
    let script = format!("printf '{odd}\\n'; for i in $(seq 30000); do printf 'x{odd}'; done");
    let request =
        json!({ "agent": "shell", "prompt": script, "metadata": { "odd": odd }, "env": { "KEY": "s3cret-value" } });
    for mask in [true, false] {
        let mut request = request.clone();
        request["mask"] = json!(mask);
        let id = server.create(request).await;
        server.settled(&id).await;
        let written = format!("{odd}\n{}", format!("x{odd}").repeat(30_000));
        assert_same_bytes("output", &server.output(&id, "stdout").await, written.as_bytes());
        for view in ["raw", "updates"] {
            for accept in ["text/event-stream", "application/x-ndjson", "application/json"] {
                let path = format!("/v1/sessions/{id}/events?view={view}");
                let answer = Answer::of(server.request("GET", &path).header("accept", accept)).await;
                let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
                assert!(!text.contains(BREAKS), "{accept} {view}");
                assert!(text.contains("a\\u0085b\\u2028c\\u2029d"), "{accept} {view}");
            }
            let mut socket = server
                .websocket(&format!("/v1/sessions/{id}/ws?follow=false&view={view}"))
                .await;
            let mut all = String::new();
            while let Some(Ok(Message::Text(text))) = socket.next().await {
                assert!(!text.contains(BREAKS), "{view}");
                all.push_str(&text);
            }
            assert!(all.contains("a\\u0085b"), "{view}");
        }
        assert_eq!(joined(&server.records(&id).await, "stdout"), written.as_bytes());
        let shown = Answer::of(server.request("GET", &format!("/v1/sessions/{id}"))).await;
        assert!(!String::from_utf8_lossy(&shown.bytes).contains(BREAKS));
        assert_eq!(shown.body["metadata"]["odd"], odd);
    }
    let refused = server.ask("POST", "/v1/sessions", &json!({ "agent": odd })).await;
    assert_eq!(refused.status, 422);
    assert!(!String::from_utf8_lossy(&refused.bytes).contains(BREAKS));
}
