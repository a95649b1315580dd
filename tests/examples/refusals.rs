//! What the example backend refuses, and what it takes once.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use support::backend::{Backend, Postgres, SANDBOX, next};
use support::wait_until;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::backend::{KEY, batch, stage};

/// Of large records, more than the kernel takes for a client that does not read.
const LAST: u64 = 30;

#[tokio::test]
async fn only_permanent_errors_are_refused_permanently() {
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let env = [
        ("BODY_LIMIT", "1000000"),
        ("WEBHOOK_SECRET", &*secret),
        ("SLOW_CLIENT_MS", "100"),
    ];
    let (mut postgres, backend) = stage("refusals", &env).await;
    let records = "/promptd/records";
    let answer = backend
        .request("POST", records, "another")
        .json(&batch("A", 1..=1, "a"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    let opened = backend.request("GET", "/sessions/s", SANDBOX).send().await.unwrap();
    assert_eq!(opened.status(), 401, "a sandbox reads what others brought");
    assert_eq!(backend.bring(records, &json!({ "session": "s" })).await, 400);
    let large = "a".repeat(1_000_000);
    assert_eq!(backend.bring(records, &batch("A", 1..=1, &large)).await, 413);
    let zipped = backend
        .request("POST", records, SANDBOX)
        .header("content-encoding", "gzip");
    let bomb = zipped
        .body(gzip(batch("A", 1..=1, &large).to_string().as_bytes()))
        .send()
        .await
        .unwrap();
    assert_eq!(bomb.status(), 413);

    postgres.crash().await;
    let answer = backend
        .request("POST", records, SANDBOX)
        .json(&batch("A", 1..=1, "a"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    postgres.start_again().await;
    assert_eq!(backend.bring(records, &batch("A", 1..=1, "a")).await, 204);

    cut_off_the_slow(&backend).await;
    append_once(&postgres, &backend).await;
    take_signed_webhooks(&postgres, &backend).await;
}

/// A client that does not read is cut off while megabytes wait, and goes on later where it was.
async fn cut_off_the_slow(backend: &Backend) {
    let mut socket = backend.live("s").after(0).await.unwrap();
    let records = "/promptd/records";
    for seq in 2..=LAST {
        let text = "b".repeat(900_000);
        assert_eq!(backend.bring(records, &batch("A", seq..=seq, &text)).await, 204);
    }
    wait_until("a client that is too slow", || backend.log().contains("too slow")).await;
    let mut seen = 0;
    let code = loop {
        match next(&mut socket).await {
            Ok(record) => seen = record["seq"].as_u64().unwrap(),
            Err(code) => break code,
        }
    };
    assert_eq!(code, Some(CloseCode::Again));
    assert!(seen < LAST, "nothing was left to cut off");
    while seen < LAST {
        let mut socket = backend.live("s").after(seen).await.unwrap();
        // On a busy machine it may be too slow again, but not so slow that it gets nowhere.
        let before = seen;
        while seen < LAST
            && let Ok(record) = next(&mut socket).await
        {
            seen += 1;
            assert_eq!(record["seq"], seen);
        }
        assert!(seen > before, "nothing came after {before}");
    }
}

/// The routes of `POST /execute`'s callers: a chunk that comes again is there once.
async fn append_once(postgres: &Postgres, backend: &Backend) {
    let append = "/api/internal/logs/append";
    for (first, chunk) in [(3, "one\n\0"), (3, "one\n\0"), (7, "two\n")] {
        let chunk = json!({ "agentId": "a", "sessionId": "s", "key": "k", "chunk": chunk, "firstSeq": first, "lastSeq": first + 1 });
        assert_eq!(backend.bring(append, &chunk).await, 204);
    }
    let text = postgres.query("select encode(bytes, 'escape') from log_texts where key = 'k'");
    assert_eq!(text, ["one", "\\000two", ""]);
    for status in ["started", "completed"] {
        let body = json!({ "agentId": "a", "sessionId": "s", "status": status });
        assert_eq!(backend.bring("/api/internal/sessions/status", &body).await, 204);
        let body = json!({ "agentId": "a", "sessionId": "s", "key": "k:status", "value": status });
        assert_eq!(backend.bring("/api/internal/logs", &body).await, 204);
    }
    assert_eq!(
        postgres.query("select status from session_statuses union all select value from log_values"),
        ["completed"; 2]
    );
}

/// A webhook is taken once, and only with its signature.
async fn take_signed_webhooks(postgres: &Postgres, backend: &Backend) {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEY.as_bytes());
    let now = jiff::Timestamp::now().as_second().to_string();
    let body = r#"{"type":"turn.ended","data":{}}"#;
    let signature = STANDARD.encode(ring::hmac::sign(&key, format!("msg_1.{now}.{body}").as_bytes()));
    for (signature, status) in [(&*signature, 204), (&*signature, 204), ("AAAA", 401)] {
        let request = backend
            .request("POST", "/promptd/webhook", "")
            .header("webhook-id", "msg_1");
        let request = request
            .header("webhook-timestamp", &now)
            .header("webhook-signature", format!("v1,{signature}"));
        assert_eq!(request.body(body).send().await.unwrap().status(), status);
    }
    assert_eq!(postgres.query("select event->>'type' from webhooks"), ["turn.ended"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
