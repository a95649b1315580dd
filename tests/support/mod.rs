//! What the tests share: the real binary as a server with a home of its own, and a client that is not ours.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of tests fails like a test"
)]

pub mod acp;
pub mod backend;
pub mod delivery;
pub mod envd;
pub mod examples;
pub mod git;
pub mod hostile;
pub mod http;
pub mod lab;
pub mod model;
pub mod network;
pub mod node;
pub mod platform;
pub mod procs;
pub mod scripted;
pub mod stand_ins;
pub mod tools;
pub mod ws;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};

/// Longer than anything here takes, even on a busy machine; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub const PROMPTD: &str = env!("CARGO_BIN_EXE_promptd");

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
}

/// A folder for one test, empty.
pub fn folder(name: &str) -> PathBuf {
    // Not under /tmp: gemini distrusts folders whose parents are writable by everybody.
    empty_folder(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
}

/// The same outside of all repositories, for homes: nothing is linked into a repository.
pub fn outside(name: &str) -> PathBuf {
    empty_folder(&std::env::temp_dir(), &format!("promptd-{name}"))
}

fn empty_folder(parent: &Path, name: &str) -> PathBuf {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = parent.join(format!("{name}-{}-{count}", std::process::id()));
    let _old = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Waits for a condition, and says what it was when it does not come.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Builder {
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub fn envs(mut self, vars: Vec<(String, String)>) -> Self {
        self.env.extend(vars);
        self
    }

    /// The text of `config.toml`.
    pub fn config(mut self, text: &str) -> Self {
        self.config = text.to_owned();
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Another binary than the one under test, e.g. a copy of it.
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = path.to_owned();
        self
    }

    /// A home elsewhere than in the test's folder, e.g. on a small file system.
    pub fn home(mut self, path: &Path) -> Self {
        self.home = Some(path.to_owned());
        self
    }

    /// A command that runs the server, e.g. `setpriv …`.
    pub fn runner(mut self, words: &[&str]) -> Self {
        self.runner = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The IP address to listen on; the client still calls 127.0.0.1.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The IP address to listen on and to be called at, e.g. in a network of its own.
    pub fn at(mut self, ip: &str) -> Self {
        ip.clone_into(&mut self.at);
        self
    }

    /// Starts what must not start; answers the exit code and all it said.
    pub async fn refused(self) -> (Option<i32>, String) {
        let root = folder("refused");
        let mut child = spawn(&self, &root, "127.0.0.1:0");
        let mut status = None;
        eventually("the refusal to start", || {
            status = child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        let log = std::fs::read_to_string(root.join("server.log")).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        (status.unwrap().code(), log)
    }

    pub async fn start(self) -> Server {
        let root = folder("server");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("{}:{port}", self.at);
        let child = spawn(&self, &root, &address);
        // A second server in one test finds it installed already.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut server = Server {
            builder: self,
            child,
            url: format!("http://{address}"),
            address,
            root,
            client,
        };
        server.healthy().await;
        server
    }
}

fn spawn(builder: &Builder, root: &Path, address: &str) -> Child {
    let home = builder.home.clone().unwrap_or_else(|| root.join("home"));
    std::fs::create_dir_all(&home).unwrap();
    if !builder.config.is_empty() {
        std::fs::write(home.join("config.toml"), &builder.config).unwrap();
    }
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(root.join("server.log"))
        .unwrap();
    let mut words = builder.runner.clone();
    words.push(builder.binary.display().to_string());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["serve", "--listen", &address.replace("127.0.0.1", &builder.host)])
        .arg("--home")
        .arg(&home);
    command
        .arg("--workspace")
        .arg(root.join("workspace"))
        .args(&builder.args);
    // Proxies and settings are the test's own, not those of whoever runs it.
    for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
    // Root sees everything; anybody else has to be let look into the server.
    if !nix::unistd::geteuid().is_root() {
        command.env("PROMPTD_DUMPABLE", "1");
    }
    command
        .env("PROMPTD_DEFAULT_AGENT", "shell")
        .envs(builder.env.iter().cloned());
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn is_setting(variable: &str) -> bool {
    let others = ["BACKEND_API_URL", "INTERNAL_API_KEY", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    variable.starts_with("PROMPTD_") || variable.to_ascii_lowercase().ends_with("_proxy") || others.contains(&variable)
}

impl Server {
    pub async fn start() -> Self {
        Self::with().start().await
    }

    pub fn with() -> Builder {
        let binary = PROMPTD.into();
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
        let begun = Instant::now();
        loop {
            if self
                .client
                .get(format!("{}/healthz", self.url))
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
            {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "the server is not healthy:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; answers the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        procs::signal(self.pid(), "TERM");
        let mut status = None;
        eventually("the server's end after SIGTERM", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
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
        let begun = Instant::now();
        loop {
            let session = self.session(id).await;
            if wanted(&session) {
                return session;
            }
            assert!(begun.elapsed() < PATIENCE, "{id} is still {session}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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
        let bytes = tokio::time::timeout(PATIENCE * 3, answer.bytes())
            .await
            .expect("the stream does not end")
            .unwrap();
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
        let begun = Instant::now();
        loop {
            if let Some(found) = self.records(id).await.into_iter().find(|record| record["type"] == kind) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "no {kind} in {id}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    pub id: Option<u64>,
    pub event: String,
    pub data: String,
}

/// A WebSocket of `tokio-tungstenite`.
pub type WebSocket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// A stream of server-sent events.
pub struct Sse {
    stream: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    /// How much of the buffer has been read.
    read: usize,
}

impl Sse {
    /// Connects; `None` when there is no server just now.
    pub async fn connect(client: &reqwest::Client, url: &str, last_event_id: Option<u64>) -> Option<Self> {
        let mut request = client.get(url).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let answer = request.send().await.ok()?;
        // A server that goes down says so; anything else is a refusal that no reader expects.
        if answer.status() == 503 {
            return None;
        }
        assert_eq!(answer.status(), 200, "{url} after {last_event_id:?}");
        Some(Self {
            stream: answer.bytes_stream().boxed(),
            buffer: Vec::new(),
            read: 0,
        })
    }

    /// The next event; `None` when the stream has ended, however it ended. Comments and `retry` are passed over.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(length) = memchr::memmem::find(&self.buffer[self.read..], b"\n\n") {
                let end = self.read + length;
                let event = Event::parse(std::str::from_utf8(&self.buffer[self.read..end]).unwrap());
                self.read = end + 2;
                if !event.event.is_empty() {
                    return Some(event);
                }
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            let chunk = tokio::time::timeout(PATIENCE, self.stream.next())
                .await
                .expect("silence for too long");
            self.buffer.extend_from_slice(&chunk?.ok()?);
        }
    }
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => event.id = value.parse().ok(),
                Some(("event", value)) => value.clone_into(&mut event.event),
                Some(("data", value)) => value.clone_into(&mut event.data),
                _ => {}
            }
        }
        event
    }
}

/// The bytes that a stream's records hold together, without decoding by the server.
pub fn joined(records: &[Value], stream: &str) -> Vec<u8> {
    use base64::Engine as _;
    let mut bytes = Vec::new();
    for record in records.iter().filter(|record| record["type"] == stream) {
        match (record["data"].as_str(), record["base64"].as_str()) {
            (Some(text), _) => bytes.extend_from_slice(text.as_bytes()),
            (_, Some(text)) => bytes.extend(base64::engine::general_purpose::STANDARD.decode(text).unwrap()),
            _ => {}
        }
        if record["eol"] != json!(false) {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Makes an empty file, which a script waits for.
pub fn touch(path: &Path) {
    std::fs::write(path, "").unwrap();
}

/// Fails unless two contents are the same, and says where they part rather than printing megabytes.
pub fn assert_same_bytes(what: &str, found: &[u8], expected: &[u8]) {
    if found != expected {
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        panic!(
            "{what}: {} bytes instead of {}, first difference at {at:?}",
            found.len(),
            expected.len()
        );
    }
}

/// The records of one type.
pub fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["type"] == kind).collect()
}

/// Whether a program that a test needs is there. On CI it has to be; elsewhere the test is passed over, and says so.
pub fn has_program(name: &str) -> bool {
    let found = which::which(name).is_ok();
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(found || !ci, "{name} is not installed, and with CI=true it has to be");
    if !found {
        eprintln!("passed over: {name} is not installed");
    }
    found
}

/// Fails unless `seq` goes 1, 2, 3, … from `first`.
pub fn assert_no_holes(records: &[Value], first: u64) {
    for (record, expected) in records.iter().zip(first..) {
        assert_eq!(record["seq"], json!(expected), "a hole or a double in the sequence");
    }
}
