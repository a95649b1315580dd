//! The client against a server that misbehaves.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};

use super::{Filter, Follow, Form, Printer, Until, exit_code, follow};
use crate::cli::client::Stopped;
use crate::cli::client::{Client, Request};
use crate::cli::error::{CliError, exit};

const RECORDS: u64 = 6;

/// A journal of one turn: prompt, started, two lines of output, exited, `turn_ended`.
fn record(seq: u64) -> String {
    let head = format!("{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:0{seq}.000000Z\",\"turn\":1,\"type\":");
    let rest = match seq {
        1 => "\"prompt\",\"text\":\"x\"}",
        2 => "\"started\",\"pid\":1,\"program\":\"p\",\"attempt\":1,\"start_ticks\":1,\"boot_id\":\"b\"}",
        3 => "\"stdout\",\"to\":4,\"data\":\"one\"}",
        4 => "\"stdout\",\"to\":8,\"data\":\"two\"}",
        5 => {
            "\"exited\",\"code\":1,\"duration\":1,\"resources\":{\"cpu_seconds\":0,\"max_rss_bytes\":0},\"leftover_processes\":0}"
        }
        _ => "\"turn_ended\",\"status\":\"failed\",\"cause\":\"agent_error\"}",
    };
    format!("{head}{rest}\n")
}

#[derive(Debug, Default)]
struct Fake {
    connections: AtomicU32,
    asked: Mutex<Vec<String>>,
    /// What the session object says.
    last_seq: AtomicU64,
}

/// Each stream has one and a half records. Every other one breaks, the others end cleanly.
async fn events(State(fake): State<Arc<Fake>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    fake.asked.lock().unwrap().push(query.clone());
    let after: u64 = query
        .split('&')
        .find_map(|part| part.strip_prefix("after=")?.parse().ok())
        .unwrap();
    let breaks = fake.connections.fetch_add(1, Ordering::Relaxed) % 2 == 0;
    let mut parts: Vec<Result<String, std::io::Error>> = Vec::new();
    if after < RECORDS {
        parts.push(Ok(record(after + 1)));
    }
    if after + 1 < RECORDS {
        parts.push(Ok(record(after + 2).chars().take(50).collect()));
    }
    if breaks {
        parts.push(Err(std::io::Error::other("on purpose")));
    }
    let parts = stream::iter(parts).then(async |part| {
        if part.is_err() {
            // Else hyper would drop what it has not sent yet.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        part
    });
    Body::from_stream(parts).into_response()
}

async fn session(State(fake): State<Arc<Fake>>) -> Response {
    let session = serde_json::json!({"id": "s", "agent": "shell", "status": "failed", "last_seq": fake.last_seq.load(Ordering::Relaxed),
        "created_at": "2026-11-21T02:40:00Z", "turns": [{"turn": 1, "status": "failed", "cause": "agent_error"}]});
    axum::Json(session).into_response()
}

/// Is not ready twice, then answers.
async fn stop(State(fake): State<Arc<Fake>>) -> Response {
    if fake.connections.fetch_add(1, Ordering::Relaxed) < 2 {
        return (StatusCode::SERVICE_UNAVAILABLE, "{\"detail\":\"leaving\"}").into_response();
    }
    axum::Json(serde_json::json!({"survivors": 2})).into_response()
}

async fn refused(headers: HeaderMap) -> Response {
    let token = headers
        .get("authorization")
        .map_or("none", |value| value.to_str().unwrap());
    (
        StatusCode::NOT_FOUND,
        serde_json::json!({"title": "no", "detail": format!("there is no such thing ({token})")}).to_string(),
    )
        .into_response()
}

async fn start() -> (Arc<Fake>, String) {
    let fake = Arc::new(Fake::default());
    let app = Router::new()
        .route("/v1/sessions/s/events", get(events))
        .route("/v1/sessions/s", get(session))
        .route("/v1/sessions/s/stop", post(stop))
        .fallback(refused)
        .with_state(Arc::clone(&fake));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (fake, url)
}

#[tokio::test]
async fn every_record_is_printed_once_when_streams_break() {
    let (fake, url) = start().await;
    fake.last_seq.store(RECORDS, Ordering::Relaxed);
    for until in [Until::Turn(1), Until::Settled, Until::Seq(RECORDS)] {
        fake.asked.lock().unwrap().clear();
        let client = Client::remote(&url, None).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer::to(
            Form::Json(promptd_model::View::Raw),
            Filter::default(),
            &mut out,
            &mut err,
        );
        let end = follow(
            Follow {
                client: &client,
                session: "s",
                after: 0,
                until,
            },
            &mut printer,
        )
        .await
        .unwrap()
        .unwrap();
        drop(printer);
        let expected: String = (1..=RECORDS).map(record).collect();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{until:?}");
        assert_eq!((exit_code(&end), end.duration), (exit::FAILED, Some(4.0)));
        let follows = fake
            .asked
            .lock()
            .unwrap()
            .iter()
            .all(|query| query.contains("follow=false") == matches!(until, Until::Seq(_)));
        assert!(follows, "{until:?}");
    }
}

#[tokio::test]
async fn following_after_the_end_reports_how_it_ended() {
    let (fake, url) = start().await;
    fake.last_seq.store(RECORDS, Ordering::Relaxed);
    let client = Client::remote(&url, None).unwrap();
    let mut printer = Printer::to(Form::Raw, Filter::default(), Vec::new(), Vec::new());
    let end = follow(
        Follow {
            client: &client,
            session: "s",
            after: RECORDS,
            until: Until::Settled,
        },
        &mut printer,
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(exit_code(&end), exit::FAILED);
}

#[tokio::test]
async fn server_that_is_not_ready_is_asked_again() {
    let (_fake, url) = start().await;
    let client = Client::remote(&url, None).unwrap();
    let stopped: Stopped = client
        .json(&Request::post("/v1/sessions/s/stop", b"{}".to_vec()))
        .await
        .unwrap();
    assert_eq!(stopped.survivors, 2);
}

#[tokio::test]
async fn refusal_shows_the_servers_message() {
    let (_fake, url) = start().await;
    let client = Client::remote(&url, Some("first,second")).unwrap();
    let error = client.session("../x y").await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("there is no such thing (Bearer first)", exit::USAGE)
    );
}

#[tokio::test]
async fn refused_connection_fails_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::remote(&url, None).unwrap().session("s").await.unwrap_err();
    assert!(matches!(error, CliError::NoServer { .. }), "{error:?}");
    assert_eq!(error.exit_code(), exit::NO_SERVER);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn home_with_a_long_path_works() {
    let home: PathBuf = std::env::temp_dir()
        .join(format!("promptd-client-{}", std::process::id()))
        .join("x".repeat(120));
    std::fs::create_dir_all(&home).unwrap();
    let listener = promptd_sys::bind_unix(&home, "control.sock").unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    let fake = Arc::new(Fake::default());
    let app = Router::new().route("/v1/sessions/s", get(session)).with_state(fake);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Client::local(Some(home.clone())).unwrap();
    assert_eq!(client.session("s").await.unwrap().id, "s");
    assert!(!client.is_host().await);
    std::fs::remove_dir_all(home.parent().unwrap()).unwrap();
}

#[test]
fn url_needs_a_scheme() {
    let error = Client::remote("8080-id.e2b.app", None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--url is \"8080-id.e2b.app\"; write it with its scheme, such as https://8080-id.e2b.app"
    );
}
