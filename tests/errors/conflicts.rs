//! Requests that are refused because of the state: unknown session, conflict, wrong cursor, full disk.

use serde_json::{Value, json};
use support::http::Answer;
use support::problems::{assert_problem, refused};
use support::{Server, folder, wait_until};

#[tokio::test]
async fn missing_agent_is_answered_with_how_to_install_it() {
    let home = folder("no-agents");
    let bin = home.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).unwrap();
    let server = Server::with()
        .env("PATH", bin.display().to_string())
        .env("HOME", home.display().to_string())
        .config("[agents.mine]\ncommand = [\"no-such-program\"]\n")
        .start()
        .await;
    let request = json!({"agent":"claud","prompt":"x"});
    let answer = refused(&server, "POST", "/v1/sessions", request, (422, "agent_not_found")).await;
    assert_eq!(answer.body["nearest"], "claude");
    for name in ["claude", "codex", "gemini", "shell", "mine"] {
        assert!(
            answer.body["known"].as_array().unwrap().contains(&json!(name)),
            "{}",
            answer.body
        );
    }
    let mine = json!({"agent":"mine","prompt":"x"});
    let answer = refused(&server, "POST", "/v1/sessions", mine, (422, "agent_not_installed")).await;
    assert_eq!(answer.body["installed"], json!(["shell"]));
    assert!(answer.detail().contains("no-such-program"), "{}", answer.body);
    let agents = server.get("/v1/agents").await;
    for agent in agents["agents"].as_array().unwrap() {
        let name = agent["name"].as_str().unwrap();
        if agent["installed"] == json!(true) {
            // In /usr/bin or /usr/local/bin, where promptd looks whatever PATH says.
            eprintln!("{name} is installed on this machine and not tested");
            continue;
        }
        let request = json!({"agent": name, "prompt":"x"});
        let answer = refused(&server, "POST", "/v1/sessions", request, (422, "agent_not_installed")).await;
        if let Some(install) = agent["install"].as_str() {
            assert!(answer.detail().contains(install), "{}", answer.body);
            assert_eq!(answer.body["install"], json!(install), "the command itself");
        }
    }
    assert_eq!(server.get("/v1/sessions").await["sessions"], json!([]));
    drop(server);
    std::fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn same_key_with_another_body_is_a_conflict() {
    let server = Server::start().await;
    let create = |key: &str, body: Value| {
        let request = server.request("POST", "/v1/sessions").header("idempotency-key", key);
        Answer::of(request.json(&body))
    };
    assert_eq!(create("k", json!({"prompt":"true"})).await.status, 201);
    for other in [
        json!({"prompt":"false"}),
        json!({"prompt":"true","timeout":5}),
        json!({"prompt":"true","metadata":{"a":1}}),
    ] {
        assert_problem(&create("k", other).await, 409, "idempotency_conflict");
    }
    let id = server.create(json!({"id":"mine","prompt":"true"})).await;
    let other = json!({"id":"mine","prompt":"false"});
    refused(&server, "POST", "/v1/sessions", other, (409, "idempotency_conflict")).await;
    let prompt = |body: Value| {
        let request = server.request("POST", &format!("/v1/sessions/{id}/prompts"));
        Answer::of(request.header("idempotency-key", "p").json(&body))
    };
    assert_eq!(prompt(json!({"prompt":"true"})).await.status, 202);
    assert_problem(&prompt(json!({"prompt":"false"})).await, 409, "idempotency_conflict");
    for key in ["", &"x".repeat(256)] {
        assert_problem(&create(key, json!({})).await, 400, "invalid_header");
    }
    assert_eq!(
        server.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn commands_without_a_running_turn_are_conflicts() {
    let server = Server::start().await;
    let id = server.create(json!({"stdin":"open"})).await;
    let closed = server.shell("true").await;
    server.settled(&closed).await;
    for id in [&id, &closed] {
        let path = format!("/v1/sessions/{id}/interrupt");
        refused(&server, "POST", &path, Value::Null, (409, "not_running")).await;
    }
    let input = server.raw("POST", &format!("/v1/sessions/{id}/input"), "", "x").await;
    assert_problem(&input, 409, "not_running");
    let input = server
        .raw("POST", &format!("/v1/sessions/{closed}/input"), "", "x")
        .await;
    assert_problem(&input, 409, "stdin_closed");
    let stop = server.post(&format!("/v1/sessions/{id}/stop"), Value::Null).await;
    assert_eq!(stop, json!({"survivors":0}), "what is wanted is the case already");
}

#[tokio::test]
async fn cursor_outside_the_journal_is_410_or_416() {
    let mut server = Server::start().await;
    let id = server.shell("echo one").await;
    let last = server.settled(&id).await["last_seq"].as_u64().unwrap();
    let events = format!("/v1/sessions/{id}/events");
    for form in ["text/event-stream", "application/x-ndjson", "application/json"] {
        let ahead = server
            .request("GET", &format!("{events}?after={}", last + 1))
            .header("accept", form);
        let answer = Answer::of(ahead).await;
        assert_problem(&answer, 416, "cursor_ahead");
        assert_eq!(answer.body["last"], last);
    }
    let resumed = server.request("GET", &events).header("last-event-id", "1000");
    assert_problem(&Answer::of(resumed).await, 416, "cursor_ahead");
    assert!(
        server
            .try_ws(&format!("/v1/sessions/{id}/ws?after=1000"), &[])
            .await
            .is_err()
    );
    // Retention that drops a journal's beginning is of a later version; this is what it will leave.
    assert_eq!(server.terminate().await, Some(0));
    let path = server.session_folder(&id).join("journal.ndjson");
    let journal = std::fs::read_to_string(&path).unwrap();
    let rest: Vec<_> = journal.split_inclusive('\n').skip(2).collect();
    std::fs::write(&path, rest.concat()).unwrap();
    server.start_again().await;
    for after in [0, 1] {
        let path = format!("{events}?after={after}");
        let answer = refused(&server, "GET", &path, Value::Null, (410, "cursor_expired")).await;
        assert_eq!(answer.body["earliest"], 3);
    }
    let kept = format!("{events}?after=2&follow=false");
    assert_eq!(server.ask("GET", &kept, &Value::Null).await.status, 200);
}

#[tokio::test]
async fn full_queue_and_rate_limit_send_retry_after() {
    let server = Server::with()
        .config("[limits]\nrunning = 1\nqueued = 1\n")
        .start()
        .await;
    let first = server.shell("until test -e go; do sleep 0.02; done").await;
    server.record(&first, "started").await;
    let second = server.shell("true").await;
    let third = json!({"prompt":"true"});
    let answer = refused(&server, "POST", "/v1/sessions", third.clone(), (429, "queue_full")).await;
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    let prompts = format!("/v1/sessions/{first}/prompts");
    refused(&server, "POST", &prompts, third.clone(), (429, "queue_full")).await;
    // A session without a prompt waits for nothing.
    server.create(json!({})).await;
    server.touch("go");
    server.settled(&second).await;
    assert_eq!(server.ask("POST", "/v1/sessions", &third).await.status, 201);

    let limited = Server::with().config("[limits]\nrate_per_minute = 2\n").start().await;
    limited.shell("true").await;
    limited.shell("true").await;
    let answer = refused(&limited, "POST", "/v1/sessions", third, (429, "rate_limited")).await;
    assert_eq!(
        (answer.header("ratelimit-limit"), answer.header("ratelimit-remaining")),
        ("2", "0")
    );
    assert!(answer.header("ratelimit-reset").parse::<u32>().unwrap() <= 60);
    assert_eq!(answer.header("retry-after"), answer.header("ratelimit-reset"));
    assert_eq!(
        limited.get("/v1/sessions").await["sessions"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn every_caller_that_deletes_a_session_is_told_that_it_is_gone() {
    let server = Server::start().await;
    for round in 0..5 {
        let request = json!({"id":"mine","agent":"shell","prompt":"sleep 1000"});
        let id = server.create(request).await;
        server.record(&id, "started").await;
        let path = format!("/v1/sessions/{id}");
        let deletes = (0..8).map(|_| server.ask("DELETE", &path, &Value::Null));
        let answers = futures_util::future::join_all(deletes).await;
        let mut codes: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        codes.sort_unstable();
        codes.dedup();
        assert!(codes == [204] || codes == [204, 404], "{round}: {answers:?}");
        refused(&server, "GET", &path, Value::Null, (404, "session_not_found")).await;
    }
    // A folder that somebody else has removed is no reason to keep the session.
    let id = server.create(json!({"agent":"shell"})).await;
    std::fs::remove_dir_all(server.session_folder(&id)).unwrap();
    let path = format!("/v1/sessions/{id}");
    assert_eq!(server.ask("DELETE", &path, &Value::Null).await.status, 204);
}

#[tokio::test]
async fn deleted_session_is_removed_in_the_background_also_after_a_restart() {
    let mut server = Server::start().await;
    let sessions = server.home().join("sessions");
    let left = || std::fs::read_dir(&sessions).unwrap().count();
    for _same_id in 0..3 {
        let id = server
            .create(json!({"id":"mine","agent":"shell","prompt":"true"}))
            .await;
        server.settled(&id).await;
        for number in 0..200 {
            std::fs::write(server.session_folder(&id).join(number.to_string()), "").unwrap();
        }
        let path = format!("/v1/sessions/{id}");
        assert_eq!(server.ask("DELETE", &path, &Value::Null).await.status, 204);
        assert!(!server.session_folder(&id).exists());
    }
    wait_until("all folders to be removed", || left() == 0).await;
    server.kill();
    // A server was killed while it removed these.
    for name in [".deleted-mine", ".deleted-mine.2"] {
        std::fs::create_dir_all(sessions.join(name).join("sub")).unwrap();
        std::fs::write(sessions.join(name).join("journal.ndjson"), "half").unwrap();
    }
    server.start_again().await;
    wait_until("what was left to be removed", || left() == 0).await;
    assert_eq!(server.get("/v1/sessions").await["sessions"], json!([]));
}
