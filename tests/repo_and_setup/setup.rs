//! Commands that set up before the agent.

use serde_json::{Value, json};
use support::{Server, joined, procs, wait_until};

use crate::repository::{git_server, story};

#[tokio::test]
async fn failed_setup_command_is_named_with_its_exit_code() {
    let server = Server::start().await;
    let setup = json!(["echo fine", "echo 'what was wrong' >&2; exit 7", "touch third"]);
    let id = server.create(json!({ "setup": setup, "prompt": "touch agent" })).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"], &turn["exit_code"]),
        (&json!("failed"), &json!("setup_failed"), &json!(7))
    );
    let error = server.record(&id, "turn_ended").await["error"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = "the setup command `echo 'what was wrong' >&2; exit 7` (2 of 3) exited with code 7: what was wrong";
    assert_eq!(error, said);
    assert!(!server.workspace().join("third").exists() && !server.workspace().join("agent").exists());
    // The next turn tries again, since no agent has begun yet.
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "true" }))
        .await;
    server
        .session_when(&id, |session| session["turns"][1]["cause"] == "setup_failed")
        .await;
}

#[tokio::test]
async fn retry_repeats_setup_only_if_it_failed() {
    let server = Server::start().await;
    let request = json!({
        "setup": ["echo setup >> log; [ -e before ] || { touch before; exit 3; }"],
        "prompt": "echo agent >> log; [ -e failed ] || { touch failed; exit 4; }", "retry": { "max": 3, "delay": 0 },
    });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["attempt"]),
        (&json!("completed"), &json!(3))
    );
    let log = std::fs::read_to_string(server.workspace().join("log")).unwrap();
    assert_eq!(log, "setup\nsetup\nagent\nagent\n");
}

#[tokio::test]
async fn setup_output_is_not_agent_output() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start().await;
    let bin = server.root.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("claude"), "#!/bin/sh\necho no event\n").unwrap();
    std::fs::set_permissions(bin.join("claude"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let fake =
        json!({ "type": "result", "subtype": "success", "is_error": false, "result": "well done", "session_id": "x" });
    let fake = format!("printf '%s' '{fake}'");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = async |setup: Value, prompt: &str| {
        let request = json!({ "agent": "claude", "env": { "PATH": path }, "setup": setup, "prompt": prompt });
        server.settled(&server.create(request).await).await
    };
    let session = run(json!([fake]), "x").await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"], &turn["result"]),
        (&json!("failed"), &json!("agent_error"), &Value::Null)
    );
    // The same words of the agent itself do count.
    std::fs::write(bin.join("claude"), format!("#!/bin/sh\n{fake}\n")).unwrap();
    let session = run(json!(["true"]), "x").await;
    assert_eq!(
        (&session["status"], &session["turns"][0]["result"]),
        (&json!("completed"), &json!("well done"))
    );
}

#[tokio::test]
async fn late_keeper_separates_setup_and_agent_output() {
    let server = Server::start().await;
    let request = json!({
        "setup": ["echo begun; until [ -e go ]; do sleep 0.01; done; seq 60000; seq 9 >&2; printf end", "seq 5"],
        "prompt": "seq 40000; seq 7 >&2; touch agent-done",
    });
    let id = server.create(request).await;
    server.record(&id, "stdout").await;
    let keeper = procs::keepers(&server.home())[0];
    procs::signal(keeper, "STOP");
    server.touch("go");
    wait_until("the agent's end", || server.workspace().join("agent-done").exists()).await;
    procs::signal(keeper, "CONT");
    assert_eq!(server.settled(&id).await["status"], "completed");
    let records = server.records(&id).await;
    let places: Vec<usize> = (0..records.len())
        .filter(|at| ["setup", "started"].contains(&records[*at]["type"].as_str().unwrap()))
        .collect();
    assert_eq!(places.len(), 3);
    let lines = |count: u32| (1..=count).map(|number| format!("{number}\n")).collect::<String>();
    for (part, stream, expected) in [
        (
            &records[places[0]..places[1]],
            "stdout",
            format!("begun\n{}end", lines(60_000)),
        ),
        (&records[places[0]..places[1]], "stderr", lines(9)),
        (&records[places[1]..places[2]], "stdout", lines(5)),
        (&records[places[1]..places[2]], "stderr", String::new()),
        (&records[places[2]..], "stdout", lines(40_000)),
        (&records[places[2]..], "stderr", lines(7)),
    ] {
        support::assert_same_bytes(stream, &joined(part, stream), expected.as_bytes());
    }
}

#[tokio::test]
async fn setup_survives_server_and_keeper_kill() {
    let git_server = git_server(None);
    git_server.make("job.git", &[("f", "there\n")]);
    let mut server = Server::start().await;
    git_server.hold(true);
    let request = json!({
        "repo": { "url": git_server.url("job.git") }, "setup": ["echo begun; until [ -e ../go ]; do sleep 0.01; done; echo done"],
        "prompt": "cat f; exit 0",
    });
    let id = server.create(request).await;
    wait_until("the clone's first request", || !git_server.seen().is_empty()).await;
    server.kill();
    procs::signal(procs::keepers(&server.home())[0], "KILL");
    git_server.hold(false);
    server.start_again().await;
    server.record(&id, "stdout").await;
    server.kill();
    procs::signal(procs::keepers(&server.home())[0], "KILL");
    server.touch("go");
    server.start_again().await;
    let session = server.settled(&id).await;
    assert_eq!(server.output(&id, "stdout").await, b"begun\ndone\nthere\n");
    let steps = story(&server.records(&id).await);
    let steps: Vec<_> = steps
        .iter()
        .filter(|step| step.starts_with("setup") || *step == "started")
        .collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    // The exit code went with the first keeper, and nothing else did.
    assert_eq!(session["turns"][0]["cause"], "keeper_lost", "{session}");
}

#[tokio::test]
async fn restarted_server_reports_the_failed_setup() {
    let mut server = Server::start().await;
    let setup = json!(["echo begun; until [ -e go ]; do sleep 0.01; done; exit 9"]);
    let id = server.create(json!({ "setup": setup, "prompt": "true" })).await;
    server.record(&id, "stdout").await;
    server.kill();
    // The exit code goes with the keeper; what the setup told does not.
    procs::signal(procs::keepers(&server.home())[0], "KILL");
    server.touch("go");
    wait_until("the setup's end", || procs::marked(&server.home()).is_empty()).await;
    server.start_again().await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "setup_failed", "{session}");
    let ended = server.record(&id, "turn_ended").await;
    assert!(
        ended["error"].as_str().unwrap().contains("exited with code 9"),
        "{ended}"
    );
}

#[tokio::test]
async fn stop_and_interrupt_end_setup_and_its_processes() {
    let git_server = git_server(None);
    git_server.make("job.git", &[("f", "x\n")]);
    let server = Server::start().await;
    let deaf = "trap '' TERM INT; setsid sleep 1000 & echo begun; while :; do sleep 0.05; done";
    for (call, cause) in [("stop", "stopped"), ("interrupt", "interrupted")] {
        let request = json!({ "setup": [deaf], "prompt": "touch agent" });
        let id = server.create(request).await;
        server.record(&id, "stdout").await;
        let body = if call == "stop" {
            json!({ "grace": 0.2 })
        } else {
            Value::Null
        };
        server.post(&format!("/v1/sessions/{id}/{call}"), body).await;
        let session = server.settled(&id).await;
        assert_eq!(
            (&session["status"], &session["turns"][0]["cause"]),
            (&json!("cancelled"), &json!(cause))
        );
        wait_until("an empty tree", || procs::marked(&server.home()).is_empty()).await;
    }
    git_server.hold(true);
    let request = json!({ "repo": { "url": git_server.url("job.git") }, "prompt": "cat f" });
    let id = server.create(request).await;
    wait_until("the clone's first request", || !git_server.seen().is_empty()).await;
    let answer = server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": 0 }))
        .await;
    assert_eq!(answer, json!({ "survivors": 0 }));
    assert_eq!(procs::marked(&server.home()), Vec::<i32>::new());
    assert!(!server.workspace().join("agent").exists());
    // What a killed clone has left is no obstacle for the next turn.
    git_server.hold(false);
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "cat f" }))
        .await;
    let session = server
        .session_when(&id, |session| session["turns"][1]["ended_at"] != Value::Null)
        .await;
    assert_eq!(session["status"], "completed", "{session}");
    assert_eq!(server.output(&id, "stdout").await, b"x\n");
}

#[tokio::test]
async fn timeout_includes_setup_and_idle_timeout_does_not() {
    let server = Server::start().await;
    let id = server
        .create(json!({ "setup": ["sleep 1000"], "prompt": "true", "timeout": 0.3 }))
        .await;
    assert_eq!(server.settled(&id).await["status"], "timed_out");
    wait_until("an empty tree", || procs::marked(&server.home()).is_empty()).await;
    let id = server
        .create(json!({ "setup": ["sleep 1"], "prompt": "true", "idle_timeout": 0.4 }))
        .await;
    assert_eq!(server.settled(&id).await["status"], "completed");
    let id = server
        .create(json!({ "setup": ["true"], "prompt": "sleep 1000", "idle_timeout": 0.4 }))
        .await;
    assert_eq!(server.settled(&id).await["turns"][0]["cause"], "idle_timeout");
}
