//! A stalled reader costs one socket and delays nobody else.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::{Server, assert_no_holes, assert_same_bytes, joined, let_pass, procs, touch, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

const LINES: usize = 20_000;
const READERS: usize = 50;

/// How long the slow reader takes nothing, again and again. The server hangs up on one that takes nothing for 30 s, and on
/// a busy machine the others need longer than that.
const STALL: Duration = Duration::from_secs(5);

/// What a server may have had in memory at its worst, with all these readers.
const MOST_MEMORY: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_reader_delays_nobody_and_loses_nothing() {
    let server = Server::start().await;
    let script = format!("until [ -e go ]; do sleep 0.01; done; seq -f '%0999.0f' 1 {LINES}");
    let id = server.shell(&script).await;
    let slow = open_slowly(&server, &id).await;
    let (others_are_done, is_over) = oneshot::channel();
    let slow = tokio::spawn(stall_until(slow, is_over));
    let path = format!("/v1/sessions/{id}/events");
    let journal = server.session_folder(&id).join("journal.ndjson");
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let request = server.request("GET", &path).header("accept", "application/x-ndjson");
        let answer = request.send().await.unwrap();
        readers.push(tokio::spawn(compare_with_journal(
            answer,
            File::open(&journal).unwrap(),
        )));
    }
    touch(&server.workspace().join("go"));
    for reader in readers {
        let read = reader.await.unwrap();
        assert_eq!(read, length(&journal), "a reader did not get everything");
    }
    assert_eq!(server.settled(&id).await["status"], json!("completed"));
    let expected: String = (1..=LINES).map(|n| format!("{n:0999}\n")).collect();
    assert_same_bytes("/output", &server.output(&id, "stdout").await, expected.as_bytes());
    others_are_done.send(()).unwrap();
    let (mut slow, first) = slow.await.unwrap();
    let body = read_to_the_end(&mut slow, first).await;
    let records: Vec<Value> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_no_holes(&records, 1);
    assert_same_bytes("the slow reader", &joined(&records, "stdout"), expected.as_bytes());
    assert_eq!(records.last().unwrap()["type"], json!("turn_ended"));
    let memory = procs::memory(server.pid(), "VmHWM");
    assert!(memory < MOST_MEMORY, "the server has had {memory} bytes in memory");
}

/// Readers that never come back cost no more, either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_never_read_do_not_delay_the_turn() {
    let server = Server::start().await;
    let script = format!("until [ -e go ]; do sleep 0.01; done; seq -f '%0999.0f' 1 {LINES}");
    let id = server.shell(&script).await;
    let mut stalled = Vec::new();
    for _ in 0..READERS {
        stalled.push(open_slowly(&server, &id).await);
    }
    touch(&server.workspace().join("go"));
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("completed"));
    let records = server.follow(&id).await;
    assert_no_holes(&records, 1);
    assert_eq!(joined(&records, "stdout").len(), LINES * 1_000);
    let memory = procs::memory(server.pid(), "VmHWM");
    assert!(memory < MOST_MEMORY, "the server has had {memory} bytes in memory");
    // Who hangs up is forgotten.
    drop(stalled);
    support::wait_until("the descriptors' return", || procs::descriptors(server.pid()) < READERS).await;
}

/// What each of many readers of a large record may cost: a block, and what waits in buffers.
const MOST_PER_READER: u64 = 3 << 20;

/// A prompt of many megabytes is one line of the journal. With a secret to mask, none of these ways may need all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_record_costs_a_stalled_reader_a_block() {
    const READERS: u64 = 8;
    let config = "[agents.mine]\ncommand = [\"true\"]\nprompt = \"file\"\n";
    let server = Server::with().config(config).env("SOME_API_KEY", "k-0123456789-secret");
    let server = server.start().await;
    let prompt = format!("{}k-0123456789-secret", "word ".repeat(2 << 20));
    let id = server.create(json!({ "agent": "mine", "prompt": prompt })).await;
    server.settled(&id).await;
    let websocket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, headers) in [
        ("events", "Accept: text/event-stream\r\n"),
        ("events?view=updates", "Accept: application/x-ndjson\r\n"),
        ("events", "Accept: application/json\r\n"),
        ("events?view=updates", "Accept: application/json\r\n"),
        ("ws", websocket),
        ("ws?view=updates", websocket),
    ] {
        let before = procs::memory(server.pid(), "VmRSS");
        let mut stalled = Vec::new();
        for _ in 0..READERS {
            stalled.push(open_stalled(&server, &id, path, headers).await);
        }
        // One that reads gets it all, and by then the others have what they will ever have.
        let records = server.records(&id).await;
        let text = records[0]["text"].as_str().unwrap();
        assert_eq!(text.len(), (5 << 21) + 3, "it is masked");
        let after = procs::memory(server.pid(), "VmRSS");
        let each = after.saturating_sub(before) / READERS;
        assert!(
            each < MOST_PER_READER,
            "{path} with {headers:?}: {each} bytes for each reader"
        );
        drop(stalled);
    }
    // Over WebSocket it is one message all the same.
    let mut socket = server.ws(&format!("/v1/sessions/{id}/ws?follow=false")).await;
    let first = socket.next().await.unwrap();
    assert!(first["text"].as_str().unwrap().ends_with("word ***"));
}

/// A connection that has asked, has seen that the answer is coming, and has next to no room to take it.
async fn open_stalled(server: &Server, id: &str, path: &str, headers: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /v1/sessions/{id}/{path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
        server.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 9];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 ");
    stream
}

/// A client that pings for ever and reads nothing costs what waits for it, and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_of_a_client_that_does_not_read_cost_little() {
    let server = Server::start().await;
    let id = server.shell("true").await;
    server.settled(&id).await;
    let websocket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut stream = open_stalled(&server, &id, "ws", websocket).await;
    let before = procs::memory(server.pid(), "VmRSS");
    // A ping with 125 bytes, masked with zeroes.
    let ping = [[0x89, 0x80 | 0x7d, 0, 0, 0, 0].as_slice(), &[0; 125]].concat();
    let many = ping.repeat(8_000);
    let mut sent = 0;
    while sent < 64 << 20 {
        match tokio::time::timeout(Duration::from_secs(2), stream.write(&many)).await {
            Ok(Ok(written)) => sent += written,
            // The server reads no more, or has hung up.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    assert!(sent > 1 << 20, "{sent} bytes of pings were sent");
    let grown = procs::memory(server.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < 8 << 20, "{sent} bytes of pings cost {grown} bytes");
}

/// A connection that has asked for the stream, has seen that it is coming, and has next to no room to take it.
async fn open_slowly(server: &Server, id: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /v1/sessions/{id}/events HTTP/1.1\r\nHost: {}\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\r\n",
        server.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

/// Takes a few bytes after each stall; answers them when the others are done, and it has stalled once at least.
async fn stall_until(mut stream: TcpStream, mut others_are_done: oneshot::Receiver<()>) -> (TcpStream, Vec<u8>) {
    let mut read = Vec::new();
    loop {
        let_pass(STALL, "the stall itself is what is tested").await;
        if others_are_done.try_recv().is_ok() {
            return (stream, read);
        }
        let mut few = [0; 16 << 10];
        let count = within("some bytes after a stall", stream.read(&mut few)).await.unwrap();
        read.extend_from_slice(&few[..count]);
    }
}

/// The body of a chunked answer whose status and first bytes have been read.
async fn read_to_the_end(stream: &mut TcpStream, mut raw: Vec<u8>) -> Vec<u8> {
    while within("the rest of the stream", stream.read_buf(&mut raw))
        .await
        .unwrap()
        > 0
    {}
    let head = memchr::memmem::find(&raw, b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (&raw[head..], Vec::new());
    loop {
        let line = memchr::memmem::find(rest, b"\r\n").expect("the stream broke off");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

/// NDJSON is the journal's own bytes: compares as they come, and answers how many came.
async fn compare_with_journal(answer: reqwest::Response, journal: File) -> u64 {
    let mut stream = answer.bytes_stream();
    let (mut position, mut expected) = (0, Vec::new());
    while let Some(piece) = within("the next piece", stream.next()).await {
        let piece = piece.unwrap();
        expected.resize(piece.len(), 0);
        journal.read_exact_at(&mut expected, position).unwrap();
        assert_same_bytes("a live reader", &piece, &expected);
        position += u64::try_from(piece.len()).unwrap();
    }
    position
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}
