//! As much as goes through: a flood from an agent, and a large journal again.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use super::client::{Form, connect, drain, numbers, send};
use super::server::Server;
use super::table::{Figure, Table};
use super::{agent, client};

const LINES: u64 = 1_000_000;

/// A million lines of a hundred bytes, until the reader has the last one.
pub(crate) fn flood(table: &mut Table) {
    let prompt = format!("flood {LINES} 100");
    let mut child = agent::bare(&prompt).spawn().unwrap();
    let bare = rate(&mut child.stdout.take().unwrap(), Form::Lines, Instant::now());
    child.wait().unwrap();
    let server = Server::start();
    let begun = Instant::now();
    let session = server.create(&prompt);
    let ours = rate(&mut client::events(&server.address, &session), Form::Records, begun);
    table.row(
        "flood to one SSE reader, no loss",
        ours,
        ("pipe", bare),
        "> 300000 lines/s",
    );
}

fn rate(source: &mut impl std::io::Read, form: Form, begun: Instant) -> Figure {
    let mut count = 0;
    numbers(source, form, |number, _| {
        assert_eq!(number.unwrap_or(count), count, "a line was lost");
        count += 1;
    });
    assert_eq!(count, LINES, "lines were lost");
    Figure::Rate(LINES as f64 / begun.elapsed().as_secs_f64(), "lines")
}

/// A journal of 400 MB, to one reader over loopback, as the bare way does it: read, write.
pub(crate) fn replay(table: &mut Table) {
    let server = Server::start();
    let session = server.create(&format!("flood {LINES} 300"));
    drain(&mut client::events(&server.address, &session));
    let path = server.folder(&session).join("journal.ndjson");
    let size = File::open(&path).unwrap().metadata().unwrap().len();
    assert!(size > 300_000_000, "the journal has only {size} bytes");
    let bare = best(|| copy_over_loopback(&path));
    for (what, accept) in [("NDJSON", "application/x-ndjson"), ("SSE", "text/event-stream")] {
        let ours = best(|| {
            let mut stream = connect(&server.address);
            let path = format!("/v1/sessions/{session}/events?follow=false");
            send(&mut stream, "GET", &path, accept, "");
            stream
        });
        table.row(&format!("replay, {what}"), ours, ("read + write", bare), "> 1 GB/s");
    }
}

/// What looking for secrets costs: the same journal with ten of them known and with none.
pub(crate) fn masking(table: &mut Table) {
    let server = Server::start();
    let env: serde_json::Map<String, serde_json::Value> = (0..10)
        .map(|n| {
            (
                format!("API_KEY_{n}X"),
                format!("sk-ant-{n}-0123456789abcdefghijklmnopqrstuvwxyz").into(),
            )
        })
        .collect();
    let occurring = env.get("API_KEY_7X").unwrap().as_str().unwrap();
    let prompt = |word: &str| format!("flood {} 300 {word}", LINES / 5);
    for (what, prompt, aim) in [
        ("replay, 10 secrets that do not occur", prompt(""), "> 0.5"),
        ("replay, a secret in every line", prompt(occurring), ""),
    ] {
        let rate = |mask: bool| {
            let body = serde_json::json!({ "agent": "bench", "prompt": prompt, "env": env, "mask": mask });
            let session = server.create_with(&body.to_string());
            drain(&mut client::events(&server.address, &session));
            best(|| {
                let mut stream = connect(&server.address);
                let path = format!("/v1/sessions/{session}/events?follow=false");
                send(&mut stream, "GET", &path, "application/x-ndjson", "");
                stream
            })
        };
        table.row(what, rate(true), ("mask: false", rate(false)), aim);
    }
}

/// The best of three: what disturbs only ever slows down.
fn best(open: impl Fn() -> TcpStream) -> Figure {
    let once = |_| {
        let begun = Instant::now();
        let bytes = drain(&mut open());
        bytes as f64 / begun.elapsed().as_secs_f64()
    };
    Figure::Rate((0..3).map(once).fold(0.0, f64::max), "bytes")
}

fn copy_over_loopback(path: &Path) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut to, _) = listener.accept().unwrap();
    let mut file = File::open(path).unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(read @ 1..) = file.read(&mut buffer) {
            to.write_all(&buffer[..read]).unwrap();
        }
    });
    stream
}
