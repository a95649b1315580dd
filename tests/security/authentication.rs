//! Which requests are authorized, and how the others are refused.

use serde_json::{Value, json};
use support::Server;
use support::http::Answer;
use support::problems::{assert_problem, refused};

#[tokio::test]
async fn token_protects_everything_but_health() {
    let server = Server::with().env("PROMPTD_TOKEN", "s3cret-token").start().await;
    for path in ["/healthz", "/health"] {
        assert_eq!(server.ask("GET", path, &Value::Null).await.status, 200);
    }
    for path in [
        "/",
        "/v1/info",
        "/v1/sessions",
        "/v1/sessions/x/ws",
        "/readyz",
        "/openapi.json",
        "/nothing",
    ] {
        let answer = refused(&server, "GET", path, Value::Null, (401, "unauthorized")).await;
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        for wrong in ["Bearer wrong", "Bearer ", "Bearer s3cret-toke", "Basic s3cret-token"] {
            let request = server.request("GET", path).header("authorization", wrong);
            let answer = Answer::of(request).await;
            assert_problem(&answer, 401, "unauthorized");
            assert!(!answer.text().contains("s3cret-toke"));
        }
    }
    let execute = server.ask("POST", "/execute", &json!({})).await;
    assert_eq!(execute.status, 401);
    assert!(execute.body["error"].as_str().unwrap().contains("token"));
    let in_the_query = server.ask("GET", "/v1/info?token=s3cret-token", &Value::Null).await;
    assert_eq!(in_the_query.status, 401);
    let right = server
        .request("GET", "/v1/info")
        .bearer_auth("s3cret-token")
        .header("origin", "https://elsewhere.example");
    assert_eq!(Answer::of(right).await.status, 200);
}

#[tokio::test]
async fn token_file_is_reloaded_and_may_hold_several() {
    let server = Server::start().await;
    assert_eq!(server.ask("GET", "/v1/info", &Value::Null).await.status, 200);
    std::fs::write(server.home().join("token"), "old\nnew\n").unwrap();
    let status = async |token: &str| {
        Answer::of(server.request("GET", "/v1/info").bearer_auth(token))
            .await
            .status
    };
    assert_eq!(
        (status("old").await, status("new").await, status("other").await),
        (200, 200, 401)
    );
    std::fs::write(server.home().join("token"), "new\n").unwrap();
    assert_eq!((status("old").await, status("new").await), (401, 200));
}

#[tokio::test]
async fn public_address_without_token_serves_health_only() {
    let server = Server::with().host("0.0.0.0").start().await;
    for path in ["/healthz", "/health"] {
        assert_eq!(server.ask("GET", path, &Value::Null).await.status, 200);
    }
    for path in ["/", "/v1/info", "/v1/sessions", "/readyz"] {
        let answer = refused(&server, "GET", path, Value::Null, (401, "not_configured")).await;
        assert!(answer.detail().contains("PROMPTD_TOKEN"), "{}", answer.body);
    }
    let guess = server.request("GET", "/v1/info").bearer_auth("guess");
    assert_problem(&Answer::of(guess).await, 401, "not_configured");
    std::fs::write(server.home().join("token"), "given-later\n").unwrap();
    let right = server.request("GET", "/v1/info").bearer_auth("given-later");
    assert_eq!(Answer::of(right).await.status, 200);
}

#[tokio::test]
async fn public_address_without_auth_needs_a_second_option() {
    let open = || Server::with().host("0.0.0.0").env("PROMPTD_AUTH", "none");
    let (code, log) = open().refused().await;
    assert_ne!(code, Some(0));
    assert!(!log.is_empty(), "it says why");
    let meant = open().env("PROMPTD_INSECURE_PUBLIC", "true").start().await;
    let request = meant.request("GET", "/v1/info").header("host", "sandbox.example");
    assert_eq!(Answer::of(request).await.status, 200);
}

#[tokio::test]
async fn loopback_refuses_foreign_hosts_and_origins() {
    let server = Server::start().await;
    let with = async |name: &str, value: &str| Answer::of(server.request("GET", "/v1/info").header(name, value)).await;
    for host in [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "10.0.0.1",
        "[::1].evil.example",
        "localhost:evil",
        "evil@localhost",
    ] {
        assert_problem(&with("host", host).await, 403, "forbidden_host");
    }
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:80"] {
        assert_eq!(with("host", host).await.status, 200, "{host}");
    }
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_problem(&with("origin", origin).await, 403, "forbidden_origin");
    }
    assert_eq!(with("origin", &server.url).await.status, 200);
    let upgrade = server
        .try_ws("/", &[("origin", "https://evil.example")])
        .await
        .err()
        .expect("a foreign page gets no WebSocket");
    assert!(upgrade.to_string().contains("403"), "{upgrade}");
}

#[tokio::test]
async fn websocket_takes_the_token_as_a_subprotocol() {
    let server = Server::with().env("PROMPTD_TOKEN", "s3cret").start().await;
    assert!(server.try_ws("/", &[]).await.is_err());
    assert!(
        server
            .try_ws("/", &[("sec-websocket-protocol", "promptd.bearer.wrong")])
            .await
            .is_err()
    );
    let open = server
        .try_ws("/", &[("sec-websocket-protocol", "promptd.bearer.s3cret")])
        .await
        .unwrap();
    assert_eq!(
        open.upgrade.headers()["sec-websocket-protocol"],
        "promptd.bearer.s3cret"
    );
}
