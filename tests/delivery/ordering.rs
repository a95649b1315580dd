//! Every record arrives in order, whatever the backend does and whichever process is killed. A repeated batch has the
//! same key and the same bytes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::delivery::{PATH, to};
use support::hostile::{Act, Arrival, Backend, Dice, Judged, Log, Reply, judge};
use support::{PATIENCE, Server, assert_same_bytes, joined, let_pass};

/// A number from the environment, so that the same test can be run for hours, and with other dice.
fn given(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

/// Writes numbered lines until it is told to end.
const AGENT: &str =
    "n=0; until [ -e done ]; do for i in 1 2 3 4 5; do n=$((n+1)); echo \"line $n\"; done; sleep 0.02; done";

pub(crate) fn ok() -> Act {
    Act::Answer(Reply::ok())
}

fn status(status: u16) -> Act {
    Act::Answer(Reply::status(status))
}

/// What a bad day's backend does with a request. `hangs`: also what lasts until the client gives up after half a minute.
fn mood(dice: &mut Dice, arrival: &Arrival<'_>, hangs: bool) -> Act {
    match dice.roll(100) {
        30..35 => status(429),
        35..38 => Act::Answer(Reply::retry_after(429, 1)),
        38..40 => Act::Answer(Reply::retry_at(503, jiff::Timestamp::now() + Duration::from_secs(1))),
        40..43 if hangs => Act::Hang,
        40..55 => Act::ResetAfterCommit,
        55..60 => Act::ResetBeforeReading,
        // Nobody finds too large what may have been taken over before.
        60..70 if arrival.tries == 0 => Act::AtMost(4 << 10),
        70..78 => status([500, 502, 503, 504][usize::try_from(dice.roll(4)).unwrap()]),
        78..90 => Act::Slowly(256, Duration::from_millis(2), Box::new(ok())),
        90..95 => Act::Late(Duration::from_millis(dice.roll(400)), Box::new(ok())),
        95..98 => Act::Garbage,
        98..100 => status(408),
        _ => ok(),
    }
}

/// The weather between two kills.
fn weather(backend: &Backend, dice: &Arc<Mutex<Dice>>, round: u64) {
    backend.come_up();
    match round % 8 {
        5 => backend.always(status(503)),
        6 => backend.go_down(),
        _ => {
            let dice = Arc::clone(dice);
            backend.script(move |arrival| mood(&mut dice.lock().unwrap(), arrival, true));
        }
    }
}

/// However slow a machine is, a day with so many kills is bad enough.
const MOST_KILLS: u64 = 100;

/// After many failures a sink waits up to half a minute before it tries again.
const LONGEST_RETRY: Duration = Duration::from_secs(45);

async fn a_bad_day(seed: u64, lasts: Duration) {
    eprintln!("seed {seed}");
    let dice = Arc::new(Mutex::new(Dice::new(seed)));
    let (backend, mut server) = (Backend::start(), Server::start().await);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(server.pushed(AGENT, to(&backend)).await);
    }
    let (begun, mut kills) = (Instant::now(), 0);
    // On a busy machine a start takes its time, and so does whatever else a bad day is made of.
    while begun.elapsed() < lasts || kills <= 5 || !was_bad(&judge(&backend, PATH), &sessions) {
        assert!(kills < MOST_KILLS, "the day is not bad enough");
        weather(&backend, &dice, kills);
        let moment = Duration::from_millis(100 + dice.lock().unwrap().roll(600));
        let_pass(moment, "the server is hit at different moments of its work").await;
        server.kill();
        server.start_again().await;
        kills += 1;
    }
    // The last server has to live with what the backend does; nothing that lasts for half a minute, though.
    backend.come_up();
    let last = Arc::clone(&dice);
    backend.script(move |arrival| mood(&mut last.lock().unwrap(), arrival, false));
    server.touch("done");
    for id in &sessions {
        server.settled(id).await;
    }
    backend.behave();
    let mut judged = None;
    for id in &sessions {
        let last = u64::try_from(server.records(id).await.len()).unwrap();
        let what = format!("the arrival of record {last} of {id}");
        backend
            .wait_for(&what, LONGEST_RETRY, |log| log.last_seq(PATH, id) >= last)
            .await;
        judged = Some(server.all_arrived(&backend, PATH, id).await);
    }
    let judged = judged.unwrap();
    for id in &sessions {
        let written = joined(&judged.0[id].records, "stdout");
        let count = written.iter().filter(|byte| **byte == b'\n').count();
        let expected: String = (1..=count).map(|n| format!("line {n}\n")).collect();
        assert_same_bytes("the lines", &written, expected.as_bytes());
    }
    let (requests, batches) = (judged.total(|sent| sent.requests), judged.total(|sent| sent.batches));
    let (duplicates, splits) = (judged.total(|sent| sent.duplicates), judged.total(|sent| sent.splits));
    eprintln!(
        "{kills} kills, {requests} requests, {batches} batches, {duplicates} duplicates, {splits} splits, {:?}",
        begun.elapsed()
    );
}

/// Whether batches were repeated and divided, and every session had something to lose.
fn was_bad(judged: &Judged, sessions: &[String]) -> bool {
    let has_come = |id: &String| judged.0.get(id).is_some_and(|sent| sent.records.len() > 100);
    let (duplicates, splits) = (judged.total(|sent| sent.duplicates), judged.total(|sent| sent.splits));
    duplicates > 0 && splits > 0 && sessions.iter().all(has_come)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_backend_and_kills_keep_every_record_in_order() {
    let lasts = Duration::from_secs(given("PROMPTD_HOSTILE_SECONDS", 14));
    a_bad_day(given("PROMPTD_HOSTILE_SEED", 4), lasts).await;
}

#[tokio::test]
async fn backend_gets_everything_after_an_outage() {
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.go_down();
    let id = server
        .pushed("for i in $(seq 500); do echo $i; done; echo no >&2", to(&backend))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed", "a dead backend never makes a run fail");
    let sink = server
        .sink_when(&id, "backend", |sink| {
            sink["failures"].as_u64().unwrap_or_default() >= 2
        })
        .await;
    let last = u64::try_from(server.records(&id).await.len()).unwrap();
    assert!(
        matches!(sink["state"].as_str().unwrap(), "retrying" | "delivering"),
        "{sink}"
    );
    assert_eq!(
        (&sink["acked_seq"], &sink["lag_records"]),
        (&json!(0), &json!(last)),
        "{sink}"
    );
    assert!(sink["lag_seconds"].as_f64().unwrap() > 0.0, "{sink}");
    let error = sink["last_error"].as_str().unwrap();
    assert!(error.contains("refused"), "{error}");
    let outage = Duration::from_secs(given("PROMPTD_DOWN_SECONDS", 5));
    let_pass(outage, "nothing may arrive while the backend is down").await;
    assert_eq!(backend.look(|log| log.accepted), 0);
    backend.come_up();
    server.all_arrived(&backend, PATH, &id).await;
    let sink = server.sink_when(&id, "backend", |sink| sink["state"] == "idle").await;
    assert_eq!(
        (&sink["acked_seq"], &sink["lag_records"]),
        (&json!(last), &json!(0)),
        "{sink}"
    );
    assert_eq!(sink["lag_seconds"].as_f64(), Some(0.0), "{sink}");
}

#[tokio::test]
async fn retry_after_a_kill_has_the_same_bytes_and_key() {
    for gzip in [false, true] {
        let (backend, mut server) = (Backend::start(), Server::start().await);
        let sinks = json!([{ "kind": "http", "url": backend.url(PATH), "gzip": gzip }]);
        let id = server.pushed(AGENT, sinks).await;
        for round in 0..4_u64 {
            let before = backend.look(|log| log.heads);
            // Takes a batch over and says nothing; or does not even take it over.
            backend.always(if round % 2 == 0 {
                Act::Late(PATIENCE * 2, Box::new(ok()))
            } else {
                Act::Hang
            });
            backend
                .wait_until("a request without an answer", |log| {
                    log.requests.len() > before && log.running() > 0
                })
                .await;
            let tried = backend.requests().last().unwrap().request.clone();
            // More is written, so that a batch that is cut again would be another one.
            let seen = server.session(&id).await["last_seq"].as_u64().unwrap();
            server
                .session_when(&id, |session| session["last_seq"].as_u64().unwrap() > seen + 20)
                .await;
            server.kill();
            backend.behave();
            server.start_again().await;
            let same = |log: &Log| -> Vec<_> {
                let requests = log.requests.iter();
                let same = requests.filter(|seen| seen.request.key() == tried.key());
                same.map(|seen| seen.request.wire.clone()).collect()
            };
            backend.wait_until("a retry", |log| same(log).len() >= 2).await;
            assert!(backend.look(same).iter().all(|bytes| *bytes == tried.wire));
        }
        server.touch("done");
        let judged = server.all_arrived(&backend, PATH, &id).await;
        assert!(judged.0[&id].duplicates >= 2);
    }
}

#[tokio::test]
async fn retry_after_is_honoured_as_seconds_and_as_date() {
    let server = Server::start().await;
    let later = jiff::Timestamp::now() + Duration::from_secs(4);
    for (reply, wait) in [
        (Reply::retry_after(429, 3), Some(Duration::from_secs(3))),
        (Reply::retry_after(503, 3), Some(Duration::from_secs(3))),
        (Reply::retry_at(429, later), None),
    ] {
        let backend = Backend::start();
        backend.script(move |arrival| match arrival.number {
            0 => Act::Answer(reply.clone()),
            _ => ok(),
        });
        let id = server.pushed("echo hello", to(&backend)).await;
        server.all_arrived(&backend, PATH, &id).await;
        let requests = backend.requests();
        assert_eq!(requests[0].request.key(), requests[1].request.key());
        let (first, second) = (&requests[0], &requests[1]);
        // The first retry of our own accord would have come within a quarter of a second.
        match wait {
            Some(wait) => assert!(second.at - first.at >= wait, "only {:?} later", second.at - first.at),
            // HTTP's dates know whole seconds.
            None => assert!(
                second.time.as_second() >= later.as_second(),
                "{} < {later}",
                second.time
            ),
        }
        assert!(second.at - first.at < PATIENCE);
    }
}

#[tokio::test]
async fn temporary_refusals_are_retried() {
    let refusals = [
        status(408),
        status(429),
        status(500),
        status(502),
        status(503),
        status(504),
        Act::Garbage,
        Act::ResetBeforeReading,
    ];
    // A few at a time: the wait between two attempts doubles, and after eight refusals it can be half a minute.
    for some in refusals.chunks(4) {
        let (backend, server) = (Backend::start(), Server::start().await);
        let (count, some) = (some.len(), some.to_vec());
        backend.script(move |arrival| some.get(arrival.number).cloned().unwrap_or_else(ok));
        let id = server.pushed("echo hello", to(&backend)).await;
        let judged = server.all_arrived(&backend, PATH, &id).await;
        assert!(judged.0[&id].requests >= count);
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let (backend, elsewhere, server) = (Backend::start(), Backend::start(), Server::start().await);
    for (number, code) in [301, 302, 307, 308].into_iter().enumerate() {
        let target = elsewhere.url("/elsewhere");
        backend.always(Act::Answer(Reply::status(code).header("Location", target)));
        let id = server.pushed("echo hello", to(&backend)).await;
        let sink = server
            .sink_when(&id, "backend", |sink| !sink["last_error"].is_null())
            .await;
        assert!(
            sink["last_error"].as_str().unwrap().contains(&code.to_string()),
            "{sink}"
        );
        assert_eq!(sink["acked_seq"], json!(0), "{sink}");
        assert!(backend.look(|log| log.heads) > number);
    }
    assert_eq!(elsewhere.look(|log| log.heads), 0);
}

#[tokio::test]
async fn shutdown_flushes_pending_records() {
    for delay in [0, 1_500] {
        let (backend, mut server) = (Backend::start(), Server::start().await);
        backend.always(Act::Late(Duration::from_millis(delay), Box::new(ok())));
        let id = server
            .pushed("for i in $(seq 50); do echo $i; done", to(&backend))
            .await;
        let session = server.settled(&id).await;
        let last = session["last_seq"].as_u64().unwrap();
        assert_eq!(server.terminate().await, Some(0), "{}", server.log());
        // Nobody is there any more who could deliver.
        assert_eq!(backend.look(|log| log.last_seq(PATH, &id)), last, "{}", server.log());
        judge(&backend, PATH);
        // And the next server knows it.
        let heads = backend.look(|log| log.heads);
        server.start_again().await;
        let sink = server.sink_when(&id, "backend", |sink| sink["state"] == "idle").await;
        assert_eq!(
            (&sink["acked_seq"], &sink["lag_records"]),
            (&json!(last), &json!(0)),
            "{sink}"
        );
        assert_eq!(
            backend.look(|log| log.heads),
            heads,
            "delivered again after a clean end"
        );
    }
}

#[tokio::test]
async fn dead_backend_does_not_delay_shutdown() {
    for dead in [
        Act::Hang,
        status(503),
        status(401),
        Act::Answer(Reply::retry_after(503, 200)),
    ] {
        let backend = Backend::start();
        let mut server = Server::with().arg("--grace").arg("2").start().await;
        backend.always(dead);
        let id = server.pushed("echo hello", to(&backend)).await;
        server.settled(&id).await;
        backend.wait_until("a first try", |log| log.heads > 0).await;
        let begun = Instant::now();
        assert_eq!(server.terminate().await, Some(0), "{}", server.log());
        // Two seconds of grace, and what a busy machine needs; a request that hangs takes 30 s.
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        backend.behave();
        server.start_again().await;
        server.all_arrived(&backend, PATH, &id).await;
    }
}

#[tokio::test]
async fn compressed_batch_has_the_same_content() {
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.go_down();
    let sinks = json!([
        { "kind": "http", "name": "small", "url": backend.url("/small"), "gzip": true },
        { "kind": "http", "name": "plain", "url": backend.url("/plain") },
    ]);
    let id = server
        .pushed("for i in $(seq 2000); do echo \"the same words $i\"; done", sinks)
        .await;
    server.settled(&id).await;
    backend.come_up();
    let small = server.all_arrived(&backend, "/small", &id).await;
    let plain = server.all_arrived(&backend, "/plain", &id).await;
    assert!(small.0[&id].records == plain.0[&id].records);
    for seen in backend.committed() {
        let compressed = seen.request.header("content-encoding") == "gzip";
        assert_eq!(compressed, seen.request.path == "/small");
        assert!(!compressed || seen.request.wire.len() < seen.request.body.len() || seen.request.body.len() < 500);
    }
}

#[tokio::test]
async fn batch_size_is_respected_and_long_lines_arrive() {
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.go_down();
    let script = "yes 'a line of no great length' | head -n 30000; head -c 2000000 /dev/urandom | base64 -w 0; head -c 100000 /dev/urandom";
    let id = server.pushed(script, to(&backend)).await;
    server.settled(&id).await;
    backend.come_up();
    let judged = server.all_arrived(&backend, PATH, &id).await;
    let written = joined(&judged.0[&id].records, "stdout");
    assert_same_bytes("the output", &written, &server.output(&id, "stdout").await);
    let largest = backend
        .committed()
        .iter()
        .map(|seen| seen.request.body.len())
        .max()
        .unwrap();
    let count = judged.0[&id].batches;
    eprintln!("{count} batches of {largest} bytes at most");
    // 256 KiB of records, their commas, and the envelope.
    assert!(largest <= (256 << 10) + 8_192, "{largest}");
}

#[tokio::test]
async fn delivery_reuses_its_connection_across_turns() {
    let (backend, server) = (Backend::start(), Server::start().await);
    let id = server.pushed("echo 1", to(&backend)).await;
    for turn in 2..=5 {
        server.all_arrived(&backend, PATH, &id).await;
        server
            .post(
                &format!("/v1/sessions/{id}/prompts"),
                json!({ "prompt": format!("echo {turn}") }),
            )
            .await;
    }
    let judged = server.all_arrived(&backend, PATH, &id).await;
    assert_eq!(joined(&judged.0[&id].records, "stdout"), b"1\n2\n3\n4\n5\n");
    assert_eq!(backend.look(|log| log.accepted), 1, "connections are kept");
    let sinks: Value = server.session(&id).await["sinks"].clone();
    assert_eq!(sinks.as_array().unwrap().len(), 1, "{sinks}");
}
