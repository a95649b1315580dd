//! What a backend says is too large.

use serde_json::json;
use support::Server;
use support::delivery::{PATH, to};
use support::hostile::{Act, Backend, Reply};

use crate::ordering::ok;

#[tokio::test]
async fn too_large_batch_is_halved_until_it_fits() {
    const MOST: usize = 3_000;
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.go_down();
    let id = server
        .pushed("for i in $(seq 300); do echo $i; done", to(&backend))
        .await;
    server.settled(&id).await;
    backend.always(Act::AtMost(MOST));
    backend.come_up();
    let judged = server.all_arrived(&backend, PATH, &id).await;
    assert!(judged.0[&id].splits >= 2, "{} splits", judged.0[&id].splits);
    assert!(backend.committed().iter().all(|seen| seen.request.body.len() <= MOST));
    // Refusals are paid for once, not once per batch.
    let (refused, batches) = (backend.look(|log| log.answered(413)), judged.0[&id].batches);
    eprintln!("{refused} refusals for {batches} batches");
}

#[tokio::test]
async fn early_413_halves_the_batch_too() {
    const MOST: usize = 20_000;
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.go_down();
    let id = server
        .pushed("yes 'more than one batch of this' | head -n 6000", to(&backend))
        .await;
    server.settled(&id).await;
    backend.script(|arrival| {
        let length: usize = arrival.request.header("content-length").parse().unwrap();
        if length > MOST {
            Act::Early(Reply::status(413).header("Connection", "close"))
        } else {
            ok()
        }
    });
    backend.come_up();
    let judged = server.all_arrived(&backend, PATH, &id).await;
    assert!(judged.0[&id].splits >= 3, "{} splits", judged.0[&id].splits);
    assert!(backend.committed().iter().all(|seen| seen.request.body.len() <= MOST));
}

#[tokio::test]
async fn too_large_record_pauses_the_sink() {
    let (backend, server) = (Backend::start(), Server::start().await);
    backend.always(Act::AtMost(3_000));
    let script = "echo first; head -c 5000 /dev/zero | tr '\\0' x; echo; echo last";
    let id = server.pushed(script, to(&backend)).await;
    let sink = server.sink_when(&id, "backend", |sink| sink["state"] == "paused").await;
    let error = sink["last_error"].as_str().unwrap();
    assert!(error.contains("413") && error.contains("cannot be divided"), "{error}");
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "completed");
    let records = server.records(&id).await;
    let large = records
        .iter()
        .find(|record| record["data"].as_str().is_some_and(|data| data.len() >= 5_000));
    let before = large.unwrap()["seq"].as_u64().unwrap() - 1;
    assert_eq!(sink["acked_seq"], json!(before), "all before it was delivered: {sink}");
    backend.behave();
    server.reload();
    server.all_arrived(&backend, PATH, &id).await;
}
