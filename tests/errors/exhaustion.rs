//! Callers who ask for too much at once: they get no more than their share, and whoever has work to do gets in.

use std::time::Duration;

use serde_json::json;
use support::http::Answer;
use support::problems::assert_problem;
use support::{Builder, Server, promptd, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server that may have so few files open.
fn with_files(limits: &str) -> Builder {
    let script = format!("ulimit {limits} && exec \"$@\"");
    Server::with().runner(&["bash", "-c", &script, "bash"])
}

/// The test itself needs thousands of sockets.
fn raise_own_limit() {
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(limit).unwrap();
    nix::sys::resource::setrlimit(limit, hard, hard).unwrap();
}

async fn connect(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    // The server may have closed it already.
    let _gone = stream.write_all(text.as_bytes()).await;
    stream
}

/// What `promptd` answers over the control socket.
async fn by_control_socket(server: &Server, args: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(promptd());
    command
        .args(["--home", &server.home().display().to_string()])
        .args(args);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = within("a command over the control socket", output)
        .await
        .unwrap()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

async fn assert_works(server: &Server) {
    let id = server.shell("echo hello").await;
    assert_eq!(server.settled(&id).await["status"], json!("completed"));
    assert_eq!(server.output(&id, "stdout").await, b"hello\n");
    let (done, said) = by_control_socket(server, &["ps"]).await;
    assert!(done && said.contains(&id), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_and_slow_sockets_keep_nobody_out() {
    raise_own_limit();
    let server = with_files("-n 256").start().await;
    let long = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}", "x".repeat(9_000));
    let beginnings = ["", "G", "GET /v1/sessions HTTP/1.1\r\nHost: x\r\n", &long, "\r\n\r\n"];
    let mut strangers = Vec::new();
    for number in 0..2_000 {
        strangers.push(connect(&server, beginnings[number % beginnings.len()]).await);
        if number % 400 == 0 {
            assert_works(&server).await;
        }
    }
    assert_works(&server).await;
    assert!(!server.log().contains("Too many open files"), "{}", server.log());
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_after_a_request_give_way() {
    raise_own_limit();
    let server = with_files("-n 256").start().await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        let mut stream = connect(&server, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
        let mut first = [0; 12];
        within("an answer", stream.read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        idle.push(stream);
    }
    assert_works(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beyond_the_bound_are_told_so() {
    let server = with_files("-n 256").start().await;
    let id = server.shell("until [ -e go ]; do sleep 0.05; done").await;
    let path = format!("/v1/sessions/{id}/events");
    // Each reader has a connection of its own.
    let (readers, refusal) = loop_until_refused(&server, &path).await;
    assert!(readers.len() >= 32, "{} readers", readers.len());
    assert_problem(&refusal, 503, "too_many_connections");
    assert!(
        refusal.detail().contains(&readers.len().to_string()),
        "{}",
        refusal.body
    );
    assert_eq!(refusal.header("retry-after"), "2");
    assert!(!refusal.header("promptd-epoch").is_empty());
    let alive = Answer::of(reqwest::Client::new().get(format!("{}/healthz", server.url))).await;
    assert_eq!(alive.status, 200, "it is alive");
    // Keepers and the control socket have their own room.
    let (done, said) = by_control_socket(&server, &["run", "-a", "shell", "echo from inside"]).await;
    assert!(done && said.contains("from inside"), "{said}");
    server.touch("go");
    drop(readers);
    support::wait_for("the places of readers that left", async || {
        let answer = server.request("GET", "/v1/sessions").send().await.unwrap();
        if answer.status() == 200 {
            Ok(())
        } else {
            Err(answer.status().to_string())
        }
    })
    .await;
    assert_eq!(server.settled(&id).await["status"], json!("completed"));
}

/// Opens streams until one is refused.
async fn loop_until_refused(server: &Server, path: &str) -> (Vec<reqwest::Response>, Answer) {
    let mut open = Vec::new();
    loop {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{}{path}", server.url));
        let answer = within("an answer", request.try_clone().unwrap().send()).await.unwrap();
        if answer.status() != 200 {
            return (open, Answer::of(request).await);
        }
        open.push(answer);
        assert!(open.len() < 300, "there is no bound");
    }
}

#[tokio::test]
async fn agents_get_the_limit_of_files_that_the_server_was_started_with() {
    let server = with_files("-Sn 200 && ulimit -Hn 4096").start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files
        .split_whitespace()
        .filter(|word| word.parse::<u32>().is_ok())
        .collect();
    assert_eq!(numbers, ["4096", "4096"], "the server raises its own");
    let id = server.shell("ulimit -Sn; ulimit -Hn").await;
    server.settled(&id).await;
    assert_eq!(server.output(&id, "stdout").await, b"200\n4096\n");
}

#[tokio::test]
async fn configured_number_of_connections_holds() {
    let server = Server::with().config("[limits]\nconnections = 3\n").start().await;
    assert_eq!(server.get("/v1/info").await["limits"]["connections"], json!(3));
    let id = server.shell("until [ -e go ]; do sleep 0.05; done").await;
    let (open, refusal) = loop_until_refused(&server, &format!("/v1/sessions/{id}/events")).await;
    assert_eq!(open.len(), 3);
    assert_problem(&refusal, 503, "too_many_connections");
    drop(open);
    tokio::time::timeout(Duration::from_secs(20), async {
        while server.request("GET", "/v1/sessions").send().await.unwrap().status() != 200 {}
    })
    .await
    .expect("the places of readers that left are free again");
    server.touch("go");
}
