//! Tests of the hostile test backend itself, and of its checker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::hostile::{Act, Answered, Backend, Certificate, Reply, authority, judge, stranger};
use support::{PATIENCE, wait_for};

fn client() -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    builder.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// A batch as an `http` sink sends it; `text` is in every record.
fn batch(
    client: &reqwest::Client,
    backend: &Backend,
    session: &str,
    bounds: (u64, u64),
    text: &str,
) -> reqwest::RequestBuilder {
    let (first, last) = bounds;
    let records: Vec<Value> = (first..=last).map(|seq| json!({ "seq": seq, "data": text })).collect();
    let body = json!({ "session": session, "epoch": "e", "first_seq": first, "last_seq": last, "records": records });
    client
        .post(backend.url("/in"))
        .header("idempotency-key", format!("{session}:e:{first}-{last}"))
        .header("promptd-session", session)
        .header("promptd-epoch", "e")
        .timeout(PATIENCE)
        .json(&body)
}

/// The bounds of a batch, and what is in its records.
type Sending = ((u64, u64), &'static str);

async fn send(client: &reqwest::Client, backend: &Backend, bounds: (u64, u64), text: &str) -> Option<u16> {
    let answer = batch(client, backend, "a:b", bounds, text).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

/// What the judge complains of; empty when it is content.
fn complaint(backend: &Backend) -> String {
    let judged = catch_unwind(AssertUnwindSafe(|| judge(backend, "/in")));
    judged.map_or_else(
        |panic| {
            panic
                .downcast_ref::<String>()
                .cloned()
                .unwrap_or_else(|| "?".to_owned())
        },
        |_| String::new(),
    )
}

#[tokio::test]
async fn every_scripted_act_does_what_it_says() {
    let (backend, client) = (Backend::start(), client());
    assert_eq!(send(&client, &backend, (1, 2), "x").await, Some(200));
    backend.always(Act::Answer(Reply::retry_after(429, 7)));
    let answer = batch(&client, &backend, "a:b", (3, 4), "x").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()),
        (429, &b"7"[..])
    );
    let date: jiff::Timestamp = "2026-11-21T02:40:00Z".parse().unwrap();
    assert_eq!(Reply::retry_at(503, date).headers[0].1, "Sat, 21 Nov 2026 02:40:00 GMT");
    backend.always(Act::ResetAfterCommit);
    assert_eq!(send(&client, &backend, (3, 4), "x").await, None);
    backend.always(Act::ResetBeforeReading);
    assert_eq!(send(&client, &backend, (3, 4), "x").await, None);
    backend.always(Act::Garbage);
    assert_eq!(send(&client, &backend, (3, 4), "x").await, None);
    backend.always(Act::Late(
        Duration::from_millis(300),
        Box::new(Act::Slowly(64, Duration::from_millis(1), Box::new(Act::AtMost(300)))),
    ));
    let begun = Instant::now();
    assert_eq!(send(&client, &backend, (3, 4), "x").await, Some(200));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(send(&client, &backend, (5, 6), &"x".repeat(200)).await, Some(413));
    backend.always(Act::Hang);
    let before = backend.requests().len();
    let hangs = tokio::spawn(batch(&client, &backend, "a:b", (5, 5), "x").send());
    backend
        .wait_until("the one that hangs", |log| log.requests.len() > before)
        .await;
    hangs.abort();
    assert!(hangs.await.is_err());
    backend
        .wait_until("the end of the one that hung", |log| log.running() == 0)
        .await;
    backend.behave();
    assert_eq!(send(&client, &backend, (5, 5), "x").await, Some(200));
    let answers: Vec<_> = backend
        .requests()
        .iter()
        .map(|seen| (seen.answered.clone(), seen.committed))
        .collect();
    let status = |status, committed| (Answered::Status(status), committed);
    assert_eq!(
        answers,
        [
            status(200, true),
            status(429, false),
            (Answered::Reset, true),
            (Answered::Garbage, false),
            status(200, true),
            status(413, false),
            (Answered::Gone, false),
            status(200, true),
        ]
    );
    let sent = judge(&backend, "/in").0.remove("a:b");
    // 5-5 after 5-6 is what a 413 is for.
    let sent = sent.unwrap();
    assert_eq!((sent.batches, sent.duplicates, sent.splits), (3, 1, 1));
    assert_eq!(backend.look(|log| log.last_seq("/in", "a:b")), 5);
    backend.wait_for_record("/in", "a:b", 5).await;
}

#[tokio::test]
async fn chunked_and_compressed_bodies_are_read() {
    let (backend, client) = (Backend::start(), client());
    let text = "some text ".repeat(10_000);
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        text.as_bytes().chunks(777).map(|piece| Ok(piece.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    client.post(backend.url("/chunked")).body(chunked).send().await.unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    let request = client.post(backend.url("/gzip")).header("content-encoding", "gzip");
    request.body(compressed.clone()).send().await.unwrap();
    let requests = backend.requests();
    assert_eq!(requests[0].request.header("transfer-encoding"), "chunked");
    assert!(requests.iter().all(|seen| seen.request.body == text.as_bytes()));
    assert_eq!(requests[1].request.wire, compressed);
    assert_eq!(backend.look(|log| log.accepted), 1, "the connection was kept");
}

#[tokio::test]
async fn backend_restarts_on_the_same_port() {
    let (backend, client) = (Backend::start(), client());
    for _ in 0..3 {
        assert_eq!(send(&client, &backend, (1, 1), "x").await, Some(200));
        backend.go_down();
        backend
            .wait_until("the end of all connections", |log| log.connections == 0)
            .await;
        // A connection that the client has kept may break first.
        wait_for("a refused connection", async || {
            let error = batch(&client, &backend, "a:b", (1, 1), "x").send().await.err();
            error.is_some_and(|error| error.is_connect())
        })
        .await;
        backend.come_up();
        wait_for("an answer", async || send(&client, &backend, (1, 1), "x").await).await;
    }
    assert_eq!(complaint(&backend), "");
}

#[tokio::test]
async fn test_certificates_are_valid_where_trusted() {
    let trusting = |pem: &str| {
        let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        client();
        reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([root])
            .build()
            .unwrap()
    };
    let (here, elsewhere) = (
        Backend::with_tls(Certificate::Here),
        Backend::with_tls(Certificate::Elsewhere),
    );
    for (backend, authority, fine) in [
        (&here, authority(), true),
        (&here, stranger(), false),
        (&elsewhere, authority(), false),
    ] {
        let answer = trusting(authority).get(backend.url("/")).send().await;
        assert_eq!(answer.is_ok(), fine, "{answer:?}");
    }
    here.wait_until("the broken handshake", |log| log.broken_handshakes == 1)
        .await;
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn checker_finds_every_violation() {
    let client = client();
    // What is sent, what the backend answers first, and what the judge has to say.
    let cases: [(&[Sending], u16, &str); 9] = [
        (&[((1, 2), "x"), ((1, 2), "x"), ((3, 4), "x")], 503, ""),
        (
            &[
                ((1, 4), "x"),
                ((1, 2), "x"),
                ((1, 2), "x"),
                ((3, 4), "x"),
                ((3, 4), "x"),
            ],
            413,
            "",
        ),
        (&[((1, 4), "x"), ((1, 2), "x")], 413, ""),
        (&[((1, 2), "x"), ((1, 2), "y")], 503, "other bytes"),
        (&[((1, 2), "x"), ((1, 3), "x")], 503, "1-3 came after Some((1, 2))"),
        (&[((1, 2), "x"), ((3, 4), "x")], 503, "3-4 came after Some((1, 2))"),
        (&[((1, 2), "x"), ((4, 5), "x")], 200, "4-5 came after Some((1, 2))"),
        (&[((1, 2), "x"), ((2, 3), "x")], 200, "2-3 came after Some((1, 2))"),
        (&[((2, 3), "x")], 200, "2-3 came after None"),
    ];
    for (number, (sent, status, says)) in cases.iter().enumerate() {
        let backend = Backend::start();
        let status = *status;
        backend.script(move |arrival| Act::Answer(Reply::status(if arrival.number == 0 { status } else { 200 })));
        for (bounds, text) in *sent {
            send(&client, &backend, *bounds, text).await.unwrap();
        }
        let complaint = complaint(&backend);
        assert!(
            complaint.contains(says) && (says.is_empty() == complaint.is_empty()),
            "case {number}: {complaint}"
        );
    }
}

#[tokio::test]
async fn checker_sees_overlaps_of_live_clients_only() {
    let (backend, one, other) = (Backend::start(), client(), client());
    backend.script(|arrival| match arrival.number {
        0 => Act::Hang,
        _ => Act::Answer(Reply::ok()),
    });
    let hung = tokio::spawn(batch(&one, &backend, "a:b", (1, 1), "x").send());
    backend.wait_until("the one that hangs", |log| log.running() == 1).await;
    assert_eq!(send(&other, &backend, (1, 1), "x").await, Some(200));
    assert!(complaint(&backend).contains("two at once"), "{}", complaint(&backend));
    hung.abort();

    let backend = Backend::start();
    backend.always(Act::Slowly(
        1,
        Duration::from_millis(20),
        Box::new(Act::Answer(Reply::ok())),
    ));
    let slow = tokio::spawn(batch(&one, &backend, "a:b", (1, 1), "x").send());
    backend.wait_until("the slow one", |log| log.running() == 1).await;
    slow.abort();
    assert!(slow.await.is_err());
    assert_eq!(backend.look(support::hostile::Log::running), 1);
    backend.behave();
    assert_eq!(send(&other, &backend, (1, 1), "x").await, Some(200));
    assert_eq!(complaint(&backend), "");
}
