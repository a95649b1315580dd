//! The journal pushed to a backend on loopback, and what that costs the agent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client;
use super::server::Server;
use super::table::{Figure, Table};

const LINES: u64 = 1_000_000;
const BODY: usize = 256 << 10;

/// A million lines of a hundred bytes, from the prompt until the backend has answered for the last.
pub(crate) fn delivery(table: &mut Table) {
    let backend = Backend::start();
    let server = Server::start();
    let prompt = format!("flood {LINES} 100");
    let (alone, _) = run(&server, &prompt, None);
    let (with_sink, records) = run(&server, &prompt, Some(&backend));
    table.row(
        "delivered to a backend",
        records,
        ("POST of the same bytes", bare(&backend)),
        "-",
    );
    table.row(
        "agent's output while it is delivered",
        with_sink,
        ("not delivered", alone),
        "-",
    );
}

/// Runs a session; answers the lines per second that the agent wrote, and the records per second that arrived.
fn run(server: &Server, prompt: &str, backend: Option<&Backend>) -> (Figure, Figure) {
    let before = backend.map_or(0, Backend::bytes);
    let begun = Instant::now();
    let sinks = backend.map(|backend| serde_json::json!({ "kind": "http", "url": backend.url }));
    let sinks: Vec<_> = sinks.into_iter().collect();
    let body = serde_json::json!({ "agent": "bench", "prompt": prompt, "sinks": sinks });
    let session = server.create_with(&body.to_string());
    let (mut duration, mut records) = (0.0, 0.0);
    loop {
        let answer = client::exchange(&server.address, "GET", &format!("/v1/sessions/{session}"), "");
        let object: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let done = object["sinks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|sink| sink["lag_records"] == 0);
        if object["status"] == "completed" && done {
            duration = object["turns"][0]["duration"].as_f64().unwrap_or(duration);
            records = object["last_seq"].as_f64().unwrap_or(records);
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let elapsed = begun.elapsed().as_secs_f64();
    if let Some(backend) = backend {
        assert!(backend.bytes() - before > LINES * 100, "records were lost");
    }
    let figures = (
        Figure::Rate(LINES as f64 / duration, "lines"),
        Figure::Rate(records / elapsed, "records"),
    );
    server.delete(&session);
    figures
}

/// The same bytes as bodies of the same size, one after the other on one connection; records of 190 bytes.
fn bare(backend: &Backend) -> Figure {
    let mut stream = TcpStream::connect(backend.address()).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let body = vec![b'x'; BODY];
    let begun = Instant::now();
    let bodies = LINES * 190 / u64::try_from(BODY).unwrap();
    for _ in 0..bodies {
        let head = format!("POST / HTTP/1.1\r\nhost: b\r\ncontent-length: {BODY}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            answers.read_line(&mut line).unwrap();
        }
    }
    Figure::Rate(LINES as f64 / begun.elapsed().as_secs_f64(), "records")
}

/// Takes whatever it is sent.
struct Backend {
    url: String,
    bytes: Arc<AtomicU64>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || serve(stream.unwrap(), &counted));
            }
        });
        Self { url, bytes }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, counted: &AtomicU64) {
    let mut answers = stream.try_clone().unwrap();
    let mut requests = BufReader::with_capacity(BODY, stream);
    let mut body = Vec::new();
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            if requests.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        body.resize(length, 0);
        requests.read_exact(&mut body).unwrap();
        counted.fetch_add(u64::try_from(length).unwrap(), Ordering::Relaxed);
        answers.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    }
}
