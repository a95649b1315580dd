//! What the tests share: the real binary as a server with a home of its own, and clients that are not ours.
//!
//! Compiled once for all test programs. Nothing here uses promptd's own code: it drives the binary from outside.

pub mod acp;
pub mod agents_table;
pub mod backend;
pub mod child;
pub mod delivery;
pub mod envd;
pub mod examples;
pub mod frozen;
pub mod git;
pub mod hostile;
pub mod http;
pub mod lab;
pub mod model;
pub mod network;
pub mod node;
mod paths;
pub mod pause;
pub mod platform;
pub mod problems;
pub mod procs;
mod records;
pub mod replay;
pub mod scripted;
mod sse;
pub mod stand_ins;
mod start;
pub mod tools;
mod wait;
pub mod ws;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

pub use paths::{folder, outside, promptd, repository};
pub use records::{assert_no_holes, assert_same_bytes, joined, of_type, require_program, touch};
pub use sse::{Event, Sse};
use start::spawn;
use wait::wait_in;
pub use wait::{PATIENCE, Wait, let_pass, wait_for, wait_until, wait_until_blocking, wait_until_within, within};

/// How to start a server.
pub struct Builder {
    env: Vec<(String, String)>,
    config: String,
    args: Vec<String>,
    binary: PathBuf,
    home: Option<PathBuf>,
    runner: Vec<String>,
    host: String,
    at: String,
}

/// A running server, with a folder of its own; dropping it ends everything it started.
pub struct Server {
    builder: Builder,
    child: Child,
    pub url: String,
    pub address: String,
    /// `home` and `workspace` lie in it.
    pub root: PathBuf,
    pub client: reqwest::Client,
    /// How long nothing may change while a test waits.
    pub patience: Duration,
    /// Bound and never listening: while the server is down, nobody else gets its port.
    _port: tokio::net::TcpSocket,
}

impl Server {
    pub async fn start() -> Self {
        Self::with().start().await
    }

    pub fn with() -> Builder {
        let binary = promptd().into();
        Builder {
            env: Vec::new(),
            config: String::new(),
            args: Vec::new(),
            binary,
            home: None,
            runner: Vec::new(),
            host: "127.0.0.1".to_owned(),
            at: "127.0.0.1".to_owned(),
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    pub fn home(&self) -> PathBuf {
        self.builder.home.clone().unwrap_or_else(|| self.root.join("home"))
    }

    pub fn workspace(&self) -> PathBuf {
        self.root.join("workspace")
    }

    /// Puts an empty file into the workspace, for which a script waits; the folder itself comes with the first turn.
    pub fn touch(&self, name: &str) {
        std::fs::create_dir_all(self.workspace()).unwrap();
        std::fs::write(self.workspace().join(name), "").unwrap();
    }

    pub fn session_folder(&self, id: &str) -> PathBuf {
        self.home().join("sessions").join(id)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("server.log")).unwrap_or_default()
    }

    async fn healthy(&mut self) {
        let url = format!("{}/healthz", self.url);
        wait_for("a healthy server", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            let answer = self.client.get(&url).send().await;
            match answer {
                Ok(answer) if answer.status() == 200 => Ok(()),
                other => Err(format!("{other:?}, log:\n{}", self.log())),
            }
        })
        .await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; answers the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        procs::signal(self.pid(), "TERM");
        let ended = wait_until("the server's end after SIGTERM", || self.child.try_wait().unwrap());
        ended.await.code()
    }

    /// Starts again after [`Server::kill`] or [`Server::terminate`], on the same address and home.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.builder, &self.root, &self.address);
        self.healthy().await;
    }

    /// The same with another binary.
    pub async fn start_again_as(&mut self, binary: &Path) {
        self.builder.binary = binary.to_owned();
        self.start_again().await;
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    /// Sends JSON; answers status and JSON body (`null` where there is none).
    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null),
        )
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, Value::Null).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.send("POST", path, body).await;
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    /// Creates a session of the `shell` agent with a first prompt; answers its id.
    pub async fn shell(&self, script: &str) -> String {
        self.create(json!({ "agent": "shell", "prompt": script })).await
    }

    pub async fn create(&self, request: Value) -> String {
        self.post("/v1/sessions", request).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub async fn session(&self, id: &str) -> Value {
        self.get(&format!("/v1/sessions/{id}")).await
    }

    /// Waits until all turns are over; answers the session.
    pub async fn settled(&self, id: &str) -> Value {
        self.session_when(id, |session| {
            !matches!(
                session["status"].as_str(),
                Some("queued" | "running" | "waiting" | "idle")
            )
        })
        .await
    }

    /// Waits until the session looks as it should.
    pub async fn session_when(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wait = Wait::with_patience("a session in another state", self.patience);
        wait_in(wait, async || {
            let session = self.session(id).await;
            if wanted(&session) {
                Ok(session)
            } else {
                Err(session.to_string())
            }
        })
        .await
    }

    /// All records that are there now.
    pub async fn records(&self, id: &str) -> Vec<Value> {
        self.ndjson(&format!("/v1/sessions/{id}/events?follow=false")).await
    }

    /// What there is now in ACP's words.
    pub async fn updates(&self, id: &str) -> Vec<Value> {
        self.ndjson(&format!("/v1/sessions/{id}/events?view=updates&follow=false"))
            .await
    }

    /// All records until the session's end, followed live.
    pub async fn follow(&self, id: &str) -> Vec<Value> {
        self.ndjson(&format!("/v1/sessions/{id}/events")).await
    }

    async fn ndjson(&self, path: &str) -> Vec<Value> {
        let answer = self
            .request("GET", path)
            .header("accept", "application/x-ndjson")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let (mut bytes, mut chunks) = (Vec::new(), answer.bytes_stream());
        while let Some(chunk) = tokio::time::timeout(self.patience, chunks.next())
            .await
            .unwrap_or_else(|_| panic!("waited for the end of {path}, which has given {} bytes", bytes.len()))
        {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The exact bytes that the agent wrote.
    pub async fn output(&self, id: &str, stream: &str) -> Vec<u8> {
        let answer = self
            .request("GET", &format!("/v1/sessions/{id}/output?stream={stream}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap().to_vec()
    }

    /// Waits for the first record of a type; answers it.
    pub async fn record(&self, id: &str, kind: &str) -> Value {
        let what = format!("a record of type {kind} in {id}");
        let wait = Wait::with_patience(&what, self.patience);
        wait_in(wait, async || {
            let records = self.records(id).await;
            let found = records.iter().find(|record| record["type"] == kind).cloned();
            found.ok_or_else(|| format!("{} records, at last {:?}", records.len(), records.last()))
        })
        .await
    }

    /// An SSE connection that is read event by event.
    pub async fn sse(&self, path: &str, last_event_id: Option<u64>) -> Sse {
        Sse::connect(&self.client, &format!("{}{path}", self.url), last_event_id)
            .await
            .unwrap()
    }

    /// A WebSocket connection, made by a client that is not ours.
    pub async fn websocket(&self, path: &str) -> WebSocket {
        let url = format!("ws://{}{path}", self.address);
        tokio_tungstenite::connect_async(url).await.unwrap().0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        procs::kill_marked(&self.home());
        if std::thread::panicking() {
            eprintln!("server log:\n{}", self.log());
        } else {
            let _gone = std::fs::remove_dir_all(&self.root);
        }
    }
}

/// A WebSocket of `tokio-tungstenite`.
pub type WebSocket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;
