//! When a turn ends: agent exit, background processes, timeouts, full disk, lingering agents.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use support::{Server, assert_no_holes, joined, of_type, procs, touch, wait_until};

#[tokio::test]
async fn background_process_does_not_delay_the_end() {
    let server = Server::start().await;
    let tag = format!("left-behind-{}", std::process::id());
    let id = server
        .shell(&format!(
            "bash -c 'until [ -e go ]; do sleep 0.01; done; echo tick; while :; do sleep 1; done' {tag} & echo done"
        ))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("completed"), "{session}");
    let left = session["turns"][0]["leftover_processes"].as_u64().unwrap();
    assert!(left >= 1, "{session}");
    let records = server.follow(&id).await;
    assert_eq!(joined(&records, "stdout"), b"done\n");
    // Between fork and exec of a `sleep` there are two of that name.
    assert!(!procs::named(&tag).is_empty(), "it was ended with its turn");

    touch(&server.workspace().join("go"));
    let late = server
        .session_when(&id, |session| {
            session["last_seq"].as_u64() > records.last().unwrap()["seq"].as_u64()
        })
        .await;
    assert_eq!(late["status"], json!("completed"), "{late}");
    let records = server.records(&id).await;
    assert_no_holes(&records, 1);
    let stdout = of_type(&records, "stdout");
    assert_eq!((&stdout[0]["data"], &stdout[0]["late"]), (&json!("done"), &Value::Null));
    assert_eq!((&stdout[1]["data"], &stdout[1]["late"]), (&json!("tick"), &json!(true)));

    let answer = server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": 0.2 }))
        .await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    assert_eq!(procs::named(&tag), Vec::<i32>::new());
    assert_eq!(
        server.session(&id).await["status"],
        json!("completed"),
        "what was over stays as it was"
    );
}

/// A server on whose sessions' PATH a script stands in for claude; `worker` is what it leaves running.
async fn with_fake_claude(worker: &str) -> (Server, String) {
    let server = Server::start().await;
    let bin = server.root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agents/recorded/claude-plain.ndjson");
    let script = format!("#!/bin/bash\nrecorded={recorded}\nhead -n 1 $recorded\n( {worker} ) &\nexit 0\n");
    std::fs::write(bin.join("claude"), script).unwrap();
    std::fs::set_permissions(bin.join("claude"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let retry = json!({ "max": 2, "delay": 0.01 });
    let request = json!({ "agent": "claude", "prompt": "hello", "env": { "PATH": path }, "retry": retry });
    let id = server.create(request).await;
    server.record(&id, "exited").await;
    (server, id)
}

#[tokio::test]
async fn turn_waits_for_the_worker_when_its_launcher_exits() {
    let worker = "until [ -e go ]; do sleep 0.01; done; tail -n +2 $recorded";
    let (server, id) = with_fake_claude(worker).await;
    assert_eq!(
        server.session(&id).await["status"],
        json!("running"),
        "the worker was not waited for"
    );
    touch(&server.workspace().join("go"));
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("completed"), "{session}");
    assert_eq!(session["turns"][0]["result"], json!("Answer 1."), "{session}");
    let records = server.records(&id).await;
    let place = |wanted: &dyn Fn(&Value) -> bool| records.iter().position(wanted).unwrap();
    let exited = place(&|record| record["type"] == "exited");
    let result = place(&|record| {
        record["data"]
            .as_str()
            .is_some_and(|line| line.contains("\"type\":\"result\""))
    });
    let ended = place(&|record| record["type"] == "turn_ended");
    assert!(exited < result && result < ended, "{exited} {result} {ended}");
    assert_eq!(records[result]["late"], Value::Null, "it came before the turn's end");
}

/// The process had gone and its worker was waited for: `stop` took the worker, and then the turn "failed" and was
/// tried again, with a new agent after `survivors: 0`.
#[tokio::test]
async fn stop_after_the_launcher_exits_ends_the_turn() {
    let (server, id) = with_fake_claude("sleep 1000").await;
    let answer = server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": 0 }))
        .await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("cancelled"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("stopped"), "{session}");
    assert!(of_type(&server.records(&id).await, "retry").is_empty());
    assert_eq!(procs::marked(&server.home()), Vec::<i32>::new());
}

#[tokio::test]
async fn turn_fails_when_its_worker_exits_silently() {
    let (server, id) = with_fake_claude("until [ -e go ]; do sleep 0.01; done").await;
    assert_eq!(
        server.session(&id).await["status"],
        json!("running"),
        "the worker was not waited for"
    );
    touch(&server.workspace().join("go"));
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("failed"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("agent_error"), "{session}");
}

#[tokio::test]
async fn turn_longer_than_its_timeout_times_out() {
    let server = Server::start().await;
    // It goes on writing: only the clock on the wall can end it.
    let script = "while :; do echo tick; sleep 0.05; done";
    let id = server
        .create(json!({ "agent": "shell", "prompt": script, "timeout": 1, "idle_timeout": 30 }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("timed_out"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("timeout"), "{session}");
    let exited = server.record(&id, "exited").await;
    assert!(exited["duration"].as_f64().unwrap() >= 1.0, "{exited}");
    wait_until("the tree's end", || procs::marked(&server.home()).is_empty()).await;
}

#[tokio::test]
async fn idle_timeout_counts_silence_only() {
    let server = Server::start().await;
    // Three seconds of words, each well within the timeout, and then none.
    let script = "for n in 1 2 3 4 5 6; do echo $n; sleep 0.5; done; sleep 1000";
    let id = server
        .create(json!({ "agent": "shell", "prompt": script, "timeout": 50, "idle_timeout": 2 }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("timed_out"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("idle_timeout"), "{session}");
    assert_eq!(server.output(&id, "stdout").await, b"1\n2\n3\n4\n5\n6\n");
    wait_until("the tree's end", || procs::marked(&server.home()).is_empty()).await;
}

#[tokio::test]
async fn session_over_its_byte_limit_ends_with_a_reason() {
    let server = Server::with()
        .config("[limits]\nsession_bytes = 2000000\n")
        .start()
        .await;
    let id = server.shell("yes 'again and again'").await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("failed"), "{session}");
    assert_eq!(session["turns"][0]["cause"], json!("output_limit"), "{session}");
    wait_until("the tree's end", || procs::marked(&server.home()).is_empty()).await;
    let records = server.follow(&id).await;
    assert_no_holes(&records, 1);
    let bytes = joined(&records, "stdout");
    assert!(bytes.starts_with(b"again and again\nagain and again\n"));
    // A writer without end overshoots by a batch at most, and what is not kept is counted.
    let journal = server.session_folder(&id).join("journal.ndjson");
    assert!(journal.metadata().unwrap().len() < 4_000_000);
    let gap = records.iter().find(|record| record["type"] == "gap").unwrap();
    assert_eq!(gap["stream"], json!("stdout"));
    assert!(gap["bytes"].as_u64().unwrap() > 0, "{gap}");
    // Another session has its own limit.
    let other = server.shell("echo well").await;
    assert_eq!(server.settled(&other).await["status"], json!("completed"));
}

#[tokio::test]
async fn failed_turn_is_retried_as_often_as_requested() {
    let server = Server::start().await;
    let retry = json!({ "max": 2, "delay": 0.05 });
    let id = server
        .create(json!({ "agent": "shell", "prompt": "echo try; exit 3", "retry": retry }))
        .await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(session["status"], json!("failed"), "{session}");
    assert_eq!(
        (&turn["attempt"], &turn["exit_code"]),
        (&json!(3), &json!(3)),
        "{session}"
    );
    assert_eq!(turn["cause"], json!("agent_error"), "{session}");
    let records = server.follow(&id).await;
    assert_no_holes(&records, 1);
    let attempts = |kind: &str| -> Vec<u64> {
        let records = of_type(&records, kind);
        records
            .iter()
            .map(|record| record["attempt"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(attempts("started"), [1, 2, 3]);
    assert_eq!(attempts("retry"), [2, 3]);
    assert_eq!(of_type(&records, "turn_ended").len(), 1);
    assert_eq!(server.output(&id, "stdout").await, b"try\ntry\ntry\n");
}

#[tokio::test]
async fn turn_that_succeeds_on_retry_is_completed() {
    let server = Server::start().await;
    let script = "if [ -e tried ]; then echo well; else touch tried; echo oops; exit 1; fi";
    let retry = json!({ "max": 5, "delay": 0.05 });
    let id = server
        .create(json!({ "agent": "shell", "prompt": script, "retry": retry }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], json!("completed"), "{session}");
    assert_eq!(session["turns"][0]["attempt"], json!(2), "{session}");
    assert_eq!(server.output(&id, "stdout").await, b"oops\nwell\n");
}

#[tokio::test]
async fn turn_that_waits_for_its_retry_lets_others_run() {
    let server = Server::with().config("[limits]\nrunning = 1\n").start().await;
    let retry = json!({ "max": 1, "delay": 3_000 });
    let waits = server
        .create(json!({ "agent": "shell", "prompt": "exit 3", "retry": retry }))
        .await;
    server.record(&waits, "retry").await;
    let other = server.shell("echo ran").await;
    assert_eq!(server.settled(&other).await["status"], "completed");
    assert_eq!(server.session(&waits).await["status"], "running");
    server.post(&format!("/v1/sessions/{waits}/stop"), json!({})).await;
    assert_eq!(server.settled(&waits).await["status"], "cancelled");
}

#[tokio::test]
async fn stop_and_prompt_of_a_queued_session_pass_no_limit() {
    let server = Server::with()
        .config("[limits]\nrunning = 1\nqueued = 1000\n")
        .start()
        .await;
    let first = server.shell("until test -e go; do sleep 0.02; done").await;
    server.record(&first, "started").await;
    let queued = server.shell("true").await;
    let (stop, prompts) = (
        format!("/v1/sessions/{queued}/stop"),
        format!("/v1/sessions/{queued}/prompts"),
    );
    for _round in 0..40 {
        let stopped = server.post(&stop, json!({ "grace": 0 }));
        let prompted = server.post(&prompts, json!({ "prompt": "true" }));
        tokio::join!(stopped, prompted);
    }
    server.post(&prompts, json!({ "prompt": "true" })).await;
    assert_eq!(server.session(&queued).await["queue_position"], json!(1));
    assert!(
        of_type(&server.records(&queued).await, "started").is_empty(),
        "one runs already"
    );
    server.touch("go");
    assert_eq!(server.settled(&queued).await["status"], "completed");
}
