//! A backend that is dead, slow or refuses costs its own sink and nobody else: not the agent, not another session, not
//! another sink, and next to no memory.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::delivery::{PATH, to};
use support::hostile::{Act, Backend, Log, Reply};
use support::http::Answer;
use support::{Server, let_pass, procs};

/// For what comes by itself a minute later.
const A_MINUTE_AND_MORE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn refusal_pauses_the_sink_until_reload() {
    let (backend, server) = (Backend::start(), Server::start().await);
    // A backend that repeats what it was sent: nobody may see that.
    backend.script(|arrival| {
        let status = arrival.request.path.trim_start_matches("/tenant-");
        let token = arrival.request.header("authorization");
        Act::Answer(Reply::status(status.parse().unwrap()).body(format!("no, {token} may not do that")))
    });
    let mut sessions = Vec::new();
    for status in [400, 401, 403, 404, 410] {
        let path = format!("/tenant-{status}");
        let sinks = json!([{
            "kind": "http", "name": "mine", "url": backend.url(&path),
            "headers": { "Authorization": "Bearer top-secret-credentials" },
        }]);
        sessions.push((status, path, server.pushed("echo hello", sinks).await));
    }
    for (status, path, id) in &sessions {
        let sink = server.sink_when(id, "mine", |sink| sink["state"] == "paused").await;
        let error = sink["last_error"].as_str().unwrap();
        assert!(error.contains(&status.to_string()), "{error}");
        assert_eq!(
            (&sink["destination"], &sink["acked_seq"], &sink["kind"], &sink["scope"]),
            (&json!(backend.origin()), &json!(0), &json!("http"), &json!("session")),
            "{sink}"
        );
        let session = server.settled(id).await;
        assert_eq!(session["status"], "completed", "{session}");
        assert!(!session.to_string().contains("top-secret"), "{session}");
        assert!(!session.to_string().contains(path), "{session}");
    }
    assert!(!server.log().contains("top-secret"), "{}", server.log());
    let tries: Vec<usize> = backend.look(|log| log.tries.values().copied().collect());
    assert_eq!(tries, [1; 5], "a sink that is paused does not hammer");
    backend.behave();
    // The next try by itself would be a minute after the refusal, which is longer than a wait waits for a change.
    server.reload();
    for (_, path, id) in &sessions {
        server.all_arrived(&backend, path, id).await;
        let sink = server.sink_when(id, "mine", |sink| sink["state"] == "idle").await;
        assert_eq!(sink["last_error"], Value::Null, "{sink}");
    }
}

#[tokio::test]
async fn refused_sink_retries_by_itself() {
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.script(|arrival| Act::Answer(Reply::status(if arrival.number == 0 { 403 } else { 200 })));
    let id = server.pushed("echo hello", to(&backend)).await;
    server.settled(&id).await;
    let last = u64::try_from(server.records(&id).await.len()).unwrap();
    backend
        .wait_for("the next try", A_MINUTE_AND_MORE, |log| log.last_seq(PATH, &id) == last)
        .await;
    let requests = backend.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(50));
}

#[tokio::test]
async fn dead_backend_delays_no_other_session() {
    let (dead, alive, server) = (Backend::start(), Backend::start(), Server::start().await);
    dead.always(Act::Hang);
    let both = json!([
        { "kind": "http", "name": "dead", "url": dead.url(PATH) },
        { "kind": "http", "name": "alive", "url": alive.url(PATH) },
    ]);
    let mut sessions = Vec::new();
    for number in 0..30 {
        sessions.push(server.pushed(&format!("echo {number}"), both.clone()).await);
    }
    dead.wait_until("requests that hang", |log| log.running() > 0).await;
    let others = join_all((0..5).map(|_| server.pushed("echo other", to(&alive)))).await;
    // A request to a dead backend takes 30 s, which is longer than a wait waits for a change.
    for id in sessions.iter().chain(&others) {
        server.all_arrived(&alive, PATH, id).await;
        assert_eq!(server.session(id).await["status"], "completed");
    }
    assert_eq!(dead.look(Log::committed), 0);
    let sink = server.sink(&sessions[0], "dead").await;
    assert_eq!(sink["acked_seq"], 0, "{sink}");
}

#[tokio::test]
async fn unanswered_request_is_resent_after_30_seconds() {
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.script(|arrival| match arrival.number {
        0 => Act::Hang,
        _ => Act::Answer(Reply::ok()),
    });
    let id = server.pushed("echo hello", to(&backend)).await;
    backend
        .wait_for("the next try", A_MINUTE_AND_MORE, |log| log.heads > 1)
        .await;
    server.all_arrived(&backend, PATH, &id).await;
    let requests = backend.requests();
    let waited = requests[1].at - requests[0].at;
    assert!((25..60).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(requests[0].request.key(), requests[1].request.key());
}

#[tokio::test]
async fn deleted_session_is_not_delivered() {
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.always(Act::Answer(Reply::status(503)));
    let id = server.pushed("echo hello", to(&backend)).await;
    server.settled(&id).await;
    backend.wait_until("a few tries", |log| log.heads >= 3).await;
    let (status, _) = server.send("DELETE", &format!("/v1/sessions/{id}"), Value::Null).await;
    assert_eq!(status, 204);
    // One that was under way may still have come.
    backend.wait_until("its end", |log| log.running() == 0).await;
    let heads = backend.look(|log| log.heads);
    server.reload();
    backend.behave();
    let next = server.pushed("echo hello", to(&backend)).await;
    server.all_arrived(&backend, PATH, &next).await;
    let of = backend
        .requests()
        .iter()
        .skip(heads + 1)
        .filter(|seen| seen.request.session() == id)
        .count();
    assert_eq!(of, 0, "the journal of {id} was sent after it was forgotten");
    assert!(!server.session_folder(&id).exists());
}

/// Takes connections and never says a word; there may be one for each session.
fn silent() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

#[tokio::test]
async fn many_dead_backends_delay_nobody_else() {
    let (alive, server) = (Backend::start(), Server::start().await);
    // It has answered before; whether those others will is not known when they are tried.
    let id = server.pushed("echo alive", to(&alive)).await;
    server.all_arrived(&alive, PATH, &id).await;
    let dead: Vec<_> = (0..80).map(|_| silent()).collect();
    for listener in &dead {
        let url = format!("http://{}/", listener.local_addr().unwrap());
        server.pushed("true", json!([{ "kind": "http", "url": url }])).await;
    }
    // All of them are being tried, or would be if there were room.
    let page = server.get("/v1/sessions?limit=100").await;
    for session in page["sessions"].as_array().unwrap() {
        server.settled(session["id"].as_str().unwrap()).await;
    }
    let_pass(Duration::from_millis(500), "as many as have room are being tried").await;
    let id = server.pushed("echo alive", to(&alive)).await;
    server.all_arrived(&alive, PATH, &id).await;
}

#[tokio::test]
async fn slow_backend_does_not_slow_the_agent() {
    // As fast as it writes: a backend that takes a kilobyte a second.
    let script = "yes 0123456789012345678901234567890123456789012345678901234567890123 | head -n 200000";
    let (slow, server) = (Backend::start(), Server::start().await);
    slow.always(Act::Slowly(
        1024,
        Duration::from_secs(1),
        Box::new(Act::Answer(Reply::ok())),
    ));
    let id = server.pushed(script, to(&slow)).await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed");
    assert_eq!(server.output(&id, "stdout").await.len(), 200_000 * 65);
    assert!(slow.look(|log| log.most_running) <= 1);
}

/// Creates sessions with a short turn each, some at a time; answers their ids.
async fn crowd(server: &Server, backend: &Backend, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count / 8 {
        let batch = (0..8).map(|_| async {
            let create = server.request("POST", "/v1/sessions");
            let create = create.header("accept", "application/x-ndjson");
            let body = json!({ "agent": "shell", "prompt": "echo hello", "sinks": to(backend) });
            let answer = Answer::of(create.json(&body)).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
            answer.header("promptd-session").to_owned()
        });
        ids.extend(join_all(batch).await);
    }
    ids
}

#[tokio::test]
async fn thousand_undelivered_sessions_need_little_memory() {
    const SESSIONS: usize = 1_000;
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.always(Act::Hang);
    let mut ids = crowd(&server, &backend, 200).await;
    let pid = server.pid();
    let (memory, descriptors) = (procs::memory(pid, "VmRSS"), procs::descriptors(pid));
    ids.extend(crowd(&server, &backend, SESSIONS - 200).await);
    let grown = procs::memory(pid, "VmRSS").saturating_sub(memory);
    let most = backend.look(|log| log.most_connections);
    let now = procs::descriptors(pid);
    eprintln!(
        "{grown} bytes more for 800 sessions, {most} connections at most, {descriptors} and then {now} descriptors"
    );
    assert!(most <= 64, "{most} connections");
    assert!(now <= descriptors + 64, "{now} descriptors after {descriptors}");
    // Twice what a session without a sink may cost (see `nothing_leaks`).
    assert!(grown < 800 * (24 << 10), "{grown} bytes more for 800 sessions");
    assert_eq!(backend.look(Log::committed), 0);
    backend.go_down();
    backend
        .wait_until("the end of all connections", |log| log.connections == 0)
        .await;
    backend.behave();
    backend.come_up();
    let records = server.records(&ids[0]).await.len();
    let last = u64::try_from(records).unwrap();
    backend
        .wait_until("the arrival of everything", |log| {
            ids.iter().all(|id| log.last_seq(PATH, id) >= last)
        })
        .await;
    for id in ids.iter().step_by(97) {
        server.all_arrived(&backend, PATH, id).await;
    }
}
