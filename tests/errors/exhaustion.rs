//! Callers who ask for too much at once: they get no more than their share, and whoever has work to do gets in.

use serde_json::json;
use support::http::Answer;
use support::problems::assert_problem;
use support::{Builder, Server, promptd, wait_for, within};
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
    let bound = server.get("/v1/info").await["limits"]["connections"].as_u64().unwrap();
    assert!(bound >= 32, "{bound} connections");
    let (readers, refusal) = open_up_to(usize::try_from(bound).unwrap(), &server, &path).await;
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
    places_are_free(&server).await;
    assert_eq!(server.settled(&id).await["status"], json!("completed"));
}

/// Waits until readers that left do not count any more.
async fn places_are_free(server: &Server) {
    wait_for("the places of readers that left", async || {
        match server.request("GET", "/v1/sessions").send().await {
            Ok(answer) if answer.status() == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// What a caller hears who sends its body and only then reads.
async fn refusal_of_a_body(server: &Server, bytes: usize) -> String {
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut stream = connect(server, &format!("{head}Content-Length: {bytes}\r\n\r\n")).await;
    // It may be cut off.
    let _cut = within("the body", stream.write_all(&vec![b' '; bytes])).await;
    let mut answer = Vec::new();
    while let Ok(1..) = within("the answer", stream.read_buf(&mut answer)).await {}
    String::from_utf8(answer).unwrap()
}

/// Opens as many streams as may be open, and one more, which is refused.
async fn open_up_to(bound: usize, server: &Server, path: &str) -> (Vec<reqwest::Response>, Answer) {
    let open = async || {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(format!("{}{path}", server.url));
        within("an answer", request.send()).await.unwrap()
    };
    let mut all = Vec::new();
    while all.len() < bound {
        // A connection whose answer has just come counts for a moment longer.
        let stream = wait_for("a stream below the bound", async || {
            let answer = open().await;
            if answer.status() == 200 {
                Ok(answer)
            } else {
                Err(answer.status())
            }
        });
        all.push(stream.await);
    }
    let refused = open().await;
    assert_ne!(refused.status(), 200, "there is no bound");
    (all, Answer::read(refused).await)
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
    let (open, refusal) = open_up_to(3, &server, &format!("/v1/sessions/{id}/events")).await;
    assert_problem(&refusal, 503, "too_many_connections");
    // A caller that sends a body meanwhile gets to know it, too, however much of it nobody reads.
    for bytes in [0, 10_000, 4 << 20] {
        let answer = refusal_of_a_body(&server, bytes).await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections"),
            "{bytes}: {answer}"
        );
    }
    drop(open);
    places_are_free(&server).await;
    server.touch("go");
}
