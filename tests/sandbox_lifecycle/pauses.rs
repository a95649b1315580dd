//! What ran before a pause or a reboot goes on after it: timeouts, keepers, turns.

use std::time::Duration;

use serde_json::json;
use support::pause::{epoch, freeze, processes, said, talk, thaw};
use support::{Server, assert_no_holes, joined, let_pass, procs};

#[tokio::test]
async fn timeouts_count_running_time_only() {
    let server = Server::start().await;
    // Each needs less running time than it has, and is away for longer than all of it.
    let ask = |script: String, limit: &str, seconds: f64| {
        let mut request = json!({ "agent": "shell", "prompt": script });
        request[limit] = json!(seconds);
        request
    };
    let talks = server.create(ask(talk(25), "timeout", 6.0)).await;
    let silent = server
        .create(ask("sleep 2.5; echo line 1".to_owned(), "idle_timeout", 4.0))
        .await;
    let endless = server
        .create(ask("echo line 1; sleep 1000".to_owned(), "timeout", 3.0))
        .await;
    for id in [&talks, &endless] {
        server.record(id, "stdout").await;
    }
    server.record(&silent, "started").await;
    let frozen = freeze(&server);
    let_pass(Duration::from_secs(7), "the pause itself is what is tested").await;
    thaw(&frozen);
    for (id, lines) in [(&talks, 25), (&silent, 1)] {
        let session = server.settled(id).await;
        assert_eq!(session["status"], "completed", "{session}");
        let records = server.records(id).await;
        assert_eq!(joined(&records, "stdout"), said(lines).as_bytes());
        assert_no_holes(&records, 1);
    }
    let session = server.settled(&endless).await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["cause"]),
        (&json!("timed_out"), &json!("timeout"))
    );
    let ran = session["turns"][0]["duration"].as_f64().unwrap();
    assert!((3.0..7.0).contains(&ran), "it had 3 s, and was counted {ran}");
}

#[tokio::test]
async fn new_keeper_after_a_pause_does_not_count_it() {
    let server = Server::start().await;
    let script = format!("echo begun; until [ -e go ]; do sleep 0.05; done; {}", talk(15));
    let id = server
        .create(json!({ "agent": "shell", "prompt": script, "timeout": 8.0 }))
        .await;
    server.record(&id, "stdout").await;
    let frozen = freeze(&server);
    let_pass(Duration::from_secs(9), "the pause itself is what is tested").await;
    thaw(&frozen);
    let note = server.session_folder(&id).join("turn-1.paused");
    support::wait_until("the keeper's note", || note.exists()).await;
    let first = procs::keepers(&server.home())[0];
    procs::signal(first, "KILL");
    let next = || procs::keepers(&server.home()).iter().any(|pid| *pid != first);
    support::wait_until("the next keeper", next).await;
    server.touch("go");
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    // The exit code went with the first keeper, and nothing else did.
    assert_eq!(turn["cause"], "keeper_lost", "{session}");
    let ran = turn["duration"].as_f64().unwrap();
    assert!(ran < 8.0, "it was counted {ran}");
    let expected = format!("begun\n{}", said(15));
    assert_eq!(server.output(&id, "stdout").await, expected.as_bytes());
    support::wait_until("the end of the turn's files", || !note.exists()).await;
}

#[tokio::test]
async fn reboot_ends_running_turns_with_a_cause() {
    let mut server = Server::start().await;
    let id = server.shell("echo line 1; sleep 1000").await;
    let next = server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "echo next" }))
        .await;
    assert_eq!(next["turn"], 2);
    server.record(&id, "stdout").await;
    let first = epoch(&server).await;
    let all = processes(&server);
    server.kill();
    for pid in all {
        procs::signal(pid, "KILL");
    }
    procs::kill_marked(&server.home());
    // Another boot: what the disk remembers is of the one before.
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = boot_id.trim().replace(|digit: char| digit.is_ascii_digit(), "a");
    for file in [
        server.session_folder(&id).join("journal.ndjson"),
        server.home().join("epoch.json"),
    ] {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(boot_id.trim()), "{}", file.display());
        std::fs::write(&file, text.replace(boot_id.trim(), &other)).unwrap();
    }
    server.start_again().await;
    let session = server.settled(&id).await;
    let turns = &session["turns"];
    assert_eq!(
        (&turns[0]["status"], &turns[0]["cause"]),
        (&json!("lost"), &json!("host_restart"))
    );
    assert_eq!(turns[1]["status"], "completed", "what waited goes on: {session}");
    assert_ne!(epoch(&server).await, first);
    assert_no_holes(&server.records(&id).await, 1);
}
