//! Two thousand sessions leave nothing but their journals.

use futures_util::future::join_all;
use serde_json::json;
use support::http::Answer;
use support::{Server, procs, wait_until};

const SESSIONS: usize = 2_000;

/// So many at once; fewer than `limits.running`, so that none waits.
const BATCH: usize = 8;

/// What a finished session may cost in memory: its state, and what the allocator makes of it.
const BYTES_PER_SESSION: u64 = 12 << 10;

async fn run(server: &Server, count: usize) {
    for _ in 0..count / BATCH {
        let batch = (0..BATCH).map(|_| async {
            let create = server.request("POST", "/v1/sessions");
            let create = create.header("accept", "application/x-ndjson");
            Answer::of(create.json(&json!({ "prompt": "true" }))).await
        });
        for answer in join_all(batch).await {
            let text = String::from_utf8_lossy(&answer.bytes).into_owned();
            assert_eq!(answer.status, 201, "{text}");
            assert!(text.contains("\"completed\""), "{text}");
        }
    }
}

async fn nobody_left(server: &Server) {
    let home = server.home();
    wait_until("the end of all keepers and agents", || {
        procs::keepers(&home).is_empty() && procs::marked(&home).is_empty()
    })
    .await;
    wait_until("the last zombie's burial", || procs::zombies(server.pid()) == 0).await;
}

#[tokio::test]
async fn two_thousand_sessions_leak_nothing() {
    let server = Server::start().await;
    // Thread pools, connections and buffers are at their size after these.
    run(&server, 200).await;
    nobody_left(&server).await;
    let pid = server.pid();
    let (descriptors, threads) = (procs::descriptors(pid), procs::threads(pid));
    let memory = procs::memory(pid, "VmRSS");
    run(&server, SESSIONS - 200).await;
    nobody_left(&server).await;
    let grown = procs::memory(pid, "VmRSS").saturating_sub(memory);
    eprintln!("{grown} bytes more, {descriptors} descriptors and {threads} threads before");
    // Not one per session; threads of the pool come and go.
    wait_until("descriptors as before", || procs::descriptors(pid) <= descriptors + 8).await;
    wait_until("threads as before", || procs::threads(pid) <= threads + 8).await;
    let most = u64::try_from(SESSIONS).unwrap() * BYTES_PER_SESSION;
    assert!(grown < most, "{grown} bytes more after {SESSIONS} sessions");
    let page = server.get("/v1/sessions?limit=1000").await;
    assert_eq!(page["sessions"].as_array().unwrap().len(), 1_000);
    let left = std::fs::read_dir(server.home().join("sessions")).unwrap();
    for session in left {
        let files = std::fs::read_dir(session.unwrap().path()).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["journal.ndjson", "session.json"],
            "a turn's files are gone when it is over"
        );
    }
}
