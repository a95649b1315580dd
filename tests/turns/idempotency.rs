//! A repeated request is one turn, and turns run in the order in which they were accepted.

use std::path::Path;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::http::Answer;
use support::{Server, wait_until};

/// A script that leaves a line whenever it is started.
const COUNTED: &str = "echo started >> starts";

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn post(server: &Server, path: &str, key: &str, body: Value) -> Answer {
    let request = server.request("POST", path).json(&body);
    Answer::of(if key.is_empty() {
        request
    } else {
        request.header("idempotency-key", key)
    })
    .await
}

fn tally(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test]
async fn identical_requests_at_once_make_one_session() {
    let server = Server::start().await;
    // Several rounds, since a race is not lost every time.
    for round in 0..8 {
        for (key, body) in [
            (format!("key-{round}"), json!({ "prompt": COUNTED })),
            (
                String::new(),
                json!({ "id": format!("own-{round}"), "prompt": COUNTED }),
            ),
        ] {
            let _old = std::fs::remove_file(server.workspace().join("starts"));
            let asked = (0..20).map(|_| post(&server, "/v1/sessions", &key, body.clone()));
            let answers = join_all(asked).await;
            let said: Vec<_> = answers.iter().map(|answer| (answer.status, answer.code())).collect();
            assert_eq!((tally(&answers, 201), tally(&answers, 200)), (1, 19), "{said:?}");
            let id = answers[0].body["id"].as_str().unwrap();
            assert!(answers.iter().all(|answer| answer.body["id"] == id));
            let session = server.settled(id).await;
            assert_eq!(session["turns"].as_array().unwrap().len(), 1, "{session}");
            assert_eq!(lines(&server.workspace().join("starts")).len(), 1);
            let again = post(&server, "/v1/sessions", &key, body).await;
            assert_eq!((again.status, again.body["id"].as_str()), (200, Some(id)));
        }
    }
    assert_eq!(
        server.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        16
    );
}

#[tokio::test]
async fn identical_prompts_at_once_make_one_turn() {
    let server = Server::start().await;
    let id = server.create(json!({})).await;
    let path = format!("/v1/sessions/{id}/prompts");
    for round in 1..=5 {
        let key = format!("prompt-{round}");
        let asked = (0..20).map(|_| post(&server, &path, &key, json!({ "prompt": COUNTED })));
        let answers = join_all(asked).await;
        let said: Vec<_> = answers.iter().map(|answer| (answer.status, answer.code())).collect();
        assert_eq!((tally(&answers, 202), tally(&answers, 200)), (1, 19), "{said:?}");
        assert!(answers.iter().all(|answer| answer.body["turn"] == json!(round)));
    }
    server.settled(&id).await;
    assert_eq!(lines(&server.workspace().join("starts")).len(), 5);
}

#[tokio::test]
async fn idempotency_key_survives_a_server_kill() {
    let mut server = Server::start().await;
    let create = json!({ "prompt": COUNTED });
    let first = post(&server, "/v1/sessions", "create", create.clone()).await;
    let id = first.body["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{id}/prompts");
    let second = post(&server, &path, "next", json!({ "prompt": COUNTED })).await;
    assert_eq!((first.status, second.status), (201, 202));
    let own = server.create(json!({ "id": "own", "prompt": COUNTED })).await;
    server.kill();
    server.start_again().await;
    let again = post(&server, "/v1/sessions", "create", create).await;
    assert_eq!((again.status, again.body["id"].as_str()), (200, Some(id.as_str())));
    let again = post(&server, &path, "next", json!({ "prompt": COUNTED })).await;
    assert_eq!((again.status, &again.body["turn"]), (200, &json!(2)));
    let again = post(&server, "/v1/sessions", "", json!({ "id": own, "prompt": COUNTED })).await;
    assert_eq!(again.status, 200);
    let other = post(&server, "/v1/sessions", "create", json!({ "prompt": "other" })).await;
    assert_eq!((other.status, other.code()), (409, "idempotency_conflict"));
    assert_eq!(server.settled(&id).await["turns"].as_array().unwrap().len(), 2);
    server.settled(&own).await;
    assert_eq!(lines(&server.workspace().join("starts")).len(), 3);
}

#[tokio::test]
async fn follow_up_prompts_queue_and_run_in_order() {
    let server = Server::start().await;
    let id = server
        .shell("until test -e go; do sleep 0.02; done; echo 1 >> order")
        .await;
    server.record(&id, "started").await;
    for turn in 2..=6 {
        let prompt = json!({ "prompt": format!("echo {turn} >> order") });
        let answer = server.post(&format!("/v1/sessions/{id}/prompts"), prompt).await;
        assert_eq!(answer, json!({ "turn": turn }));
    }
    let session = server.session(&id).await;
    let queued = session["turns"].as_array().unwrap().iter();
    assert_eq!(queued.filter(|turn| turn["status"] == "queued").count(), 5, "{session}");
    server.touch("go");
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed");
    assert_eq!(lines(&server.workspace().join("order")), ["1", "2", "3", "4", "5", "6"]);
}

/// Creates sessions that say when they start, and end when they are told to.
async fn gated(server: &Server, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(
            server
                .shell(&format!(
                    "echo {number} >> order; until test -e go-{number}; do sleep 0.02; done"
                ))
                .await,
        );
    }
    ids
}

async fn started(server: &Server, count: usize) -> Vec<usize> {
    let path = server.workspace().join("order");
    wait_until(&format!("the start of {count} turns"), || lines(&path).len() >= count).await;
    lines(&path).iter().map(|line| line.parse().unwrap()).collect()
}

fn release(server: &Server, number: usize) {
    server.touch(&format!("go-{number}"));
}

#[tokio::test]
async fn running_limit_holds_and_order_is_kept() {
    let server = Server::with().config("[limits]\nrunning = 4\n").start().await;
    let ids = gated(&server, 64).await;
    let mut first = started(&server, 4).await;
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2, 3], "the first four run");
    for (number, id) in ids.iter().enumerate() {
        let session = server.session(id).await;
        if number < 4 {
            assert_eq!(
                (&session["status"], &session["queue_position"]),
                (&json!("running"), &Value::Null)
            );
        } else {
            let place = session["queue_position"].as_u64().unwrap();
            let before = server.session(&ids[number - 1]).await["queue_position"].as_u64();
            assert_eq!(session["status"], "queued");
            assert_eq!(place, before.map_or(1, |before| before + 1), "places count from 1");
        }
    }
    for number in 0..64 {
        release(&server, number);
        let order = started(&server, (number + 5).min(64)).await;
        if number < 60 {
            assert_eq!(order.len(), number + 5, "one starts when one ends");
            assert_eq!(order.last(), Some(&(number + 4)), "and it is the next one");
        }
    }
    for id in &ids {
        assert_eq!(server.settled(id).await["status"], "completed");
    }
}

#[tokio::test]
async fn queue_keeps_order_and_limit_after_a_kill() {
    let mut server = Server::with().config("[limits]\nrunning = 2\n").start().await;
    let ids = gated(&server, 12).await;
    started(&server, 2).await;
    for round in 0..3 {
        server.kill();
        server.start_again().await;
        for (number, id) in ids.iter().enumerate().skip(round) {
            let status = server.session(id).await["status"].clone();
            let wanted = if number < round + 2 { "running" } else { "queued" };
            assert_eq!(status, wanted, "number {number} after restart {round}");
        }
        assert_eq!(started(&server, round + 2).await.len(), round + 2);
        release(&server, round);
        let order = started(&server, round + 3).await;
        assert_eq!(order.last(), Some(&(round + 2)));
    }
    (3..12).for_each(|number| release(&server, number));
    for id in &ids {
        assert_eq!(server.settled(id).await["status"], "completed");
    }
    let mut order = started(&server, 12).await;
    order.dedup();
    assert_eq!(order.len(), 12, "each was started once");
}
