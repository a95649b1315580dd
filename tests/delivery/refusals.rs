//! A backend that refuses pauses its sink. The session says why, without secrets; a changed configuration is tried at
//! once.

use serde_json::{Value, json};
use support::Server;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

/// Takes what has the key `good`, and refuses everything else with its own key.
async fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut key, mut length, mut line) = (String::new(), 0, String::new());
                while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
                    if let Some(value) = line.strip_prefix("x-api-key: ") {
                        value.trim().clone_into(&mut key);
                    }
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let _body = stream.read_exact(&mut vec![0; length]).await;
                let status = if key.contains("good") {
                    "200 OK"
                } else {
                    "401 Unauthorized"
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{key}",
                    key.len()
                );
                let _sent = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    port
}

fn is(sinks: &Value, state: &str) -> bool {
    sinks["sinks"]
        .as_array()
        .is_some_and(|sinks| !sinks.is_empty() && sinks.iter().all(|sink| sink["state"] == state))
}

#[tokio::test]
async fn key_echoed_by_the_backend_is_masked() {
    let (server, port) = (Server::start().await, backend().await);
    for mask in [true, false] {
        let url = format!("http://127.0.0.1:{port}/");
        let sink = json!({"kind": "http", "url": url, "headers": {"X-Api-Key": "bad-key-1234567"}});
        let id = server
            .create(json!({"agent": "shell", "prompt": "echo x", "mask": mask, "sinks": [sink]}))
            .await;
        let session = server.session_when(&id, |session| is(session, "paused")).await;
        let error = session["sinks"][0]["last_error"].as_str().unwrap();
        assert!(error.contains("401") && error.contains("***"), "{error}");
        assert!(!session.to_string().contains("bad-key"), "{session}");
    }
    assert!(!server.log().contains("bad-key"), "{}", server.log());
}

#[tokio::test]
async fn changed_configuration_is_tried_at_once() {
    let port = backend().await;
    let sink = |key: &str| {
        format!(
            "[[sinks]]\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\nheaders = {{ X-Api-Key = \"{key}\" }}\n"
        )
    };
    let server = Server::with().config(&sink("bad-key-1234567")).start().await;
    let id = server.shell("echo x").await;
    server.session_when(&id, |session| is(session, "paused")).await;
    let path = server.home().join("config.toml");
    let changed = std::fs::read_to_string(&path).unwrap().replace("bad-key", "good-key");
    std::fs::write(&path, changed).unwrap();
    // Long before the minute is over after which it would be tried anyway.
    server.session_when(&id, |session| is(session, "idle")).await;
}
