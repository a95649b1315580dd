//! A session's folder is its own fault domain: what is broken is reported, and costs no other.

use std::io::Write as _;

use serde_json::{Value, json};
use support::http::Answer;
use support::{Server, assert_no_holes, joined};

#[tokio::test]
async fn damaged_session_is_reported_and_others_continue() {
    let mut server = Server::start().await;
    let mut ids = Vec::new();
    for name in ["good", "torn", "scribbled", "holed", "broken", "newer", "empty", "idle"] {
        let id = server
            .create(json!({ "id": name, "prompt": format!("echo I am {name}") }))
            .await;
        server.settled(&id).await;
        ids.push(id);
    }
    let running = server
        .create(json!({ "id": "running", "prompt": "until test -e go; do sleep 0.02; done; echo done" }))
        .await;
    server.record(&running, "started").await;
    let before = (server.records("good").await, server.records("torn").await);
    server.kill();
    let journal = |id: &str| server.session_folder(id).join("journal.ndjson");
    let request = |id: &str| server.session_folder(id).join("session.json");
    let mut torn = std::fs::File::options().append(true).open(journal("torn")).unwrap();
    torn.write_all(b"{\"seq\":6,\"time\":\"2026-11-21T02:4").unwrap();
    std::fs::write(
        journal("scribbled"),
        "\u{0}\u{0}\u{0} nothing that we know\n".repeat(50),
    )
    .unwrap();
    let text = std::fs::read_to_string(journal("holed")).unwrap();
    std::fs::write(journal("holed"), text.replacen("\"seq\":2", "\"sqe\":2", 1)).unwrap();
    std::fs::write(request("broken"), "{\"version\":1,").unwrap();
    let text = std::fs::read_to_string(request("newer")).unwrap();
    std::fs::write(request("newer"), text.replacen("\"version\":1", "\"version\":999", 1)).unwrap();
    std::fs::write(journal("empty"), "").unwrap();
    std::fs::remove_file(journal("idle")).unwrap();
    // Things that are no sessions at all.
    let sessions = server.home().join("sessions");
    std::fs::write(sessions.join("a-file"), "x").unwrap();
    std::fs::create_dir(sessions.join("never-finished")).unwrap();
    std::fs::create_dir(sessions.join("not an id")).unwrap();
    server.start_again().await;

    for id in ["scribbled", "holed", "broken", "newer"] {
        let code = if id == "newer" {
            (409, "session_newer")
        } else {
            (500, "session_damaged")
        };
        for rest in ["", "/events", "/output"] {
            let answer = server
                .ask("GET", &format!("/v1/sessions/{id}{rest}"), &Value::Null)
                .await;
            assert_eq!((answer.status, answer.code()), code, "{}", answer.text());
            assert!(answer.detail().contains(id), "{}", answer.body);
        }
        let prompts = format!("/v1/sessions/{id}/prompts");
        let answer = server.ask("POST", &prompts, &json!({ "prompt": "true" })).await;
        assert_eq!(answer.code(), code.1, "{}", answer.text());
        let answer = server
            .ask("POST", "/v1/sessions", &json!({ "id": id, "prompt": "true" }))
            .await;
        assert_eq!(answer.code(), code.1, "its id is not given away: {}", answer.text());
    }
    let answer = server.ask("GET", "/v1/sessions/never-finished", &Value::Null).await;
    assert_eq!(answer.status, 404);
    for wanted in [204, 404] {
        let answer = server.ask("DELETE", "/v1/sessions/newer", &Value::Null).await;
        assert_eq!(
            answer.status,
            wanted,
            "what cannot be used can be deleted: {}",
            answer.text()
        );
    }

    assert_eq!(server.records("good").await, before.0);
    assert_eq!(server.records("torn").await, before.1, "the torn line is not shown");
    for id in ["good", "torn", "empty", "idle"] {
        let path = format!("/v1/sessions/{id}/prompts");
        server.post(&path, json!({ "prompt": "echo still here" })).await;
        assert_eq!(server.settled(id).await["status"], "completed", "{id}");
        let records = server.records(id).await;
        assert_no_holes(&records, 1);
        assert!(joined(&records, "stdout").ends_with(b"still here\n"), "{id}");
    }
    let text = std::fs::read_to_string(server.session_folder("torn").join("journal.ndjson")).unwrap();
    assert!(
        !text.contains("2026-11-21T02:4{"),
        "the torn line was cut before something was appended"
    );
    server.touch("go");
    assert_eq!(server.settled(&running).await["status"], "completed");
    assert_eq!(server.output(&running, "stdout").await, b"done\n");
    let list = server.get("/v1/sessions").await;
    let mut listed: Vec<_> = list["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| session["id"].as_str().unwrap())
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, ["empty", "good", "idle", "running", "torn"]);
    let fresh = server.shell("echo new").await;
    assert_eq!(server.settled(&fresh).await["status"], "completed");
}

#[tokio::test]
async fn damage_at_run_time_breaks_one_session_only() {
    let server = Server::start().await;
    let broken = server.shell("echo fine").await;
    let good = server.shell("until test -e go; do sleep 0.02; done; echo fine").await;
    server.settled(&broken).await;
    let folder = server.session_folder(&broken);
    std::fs::write(folder.join("journal.ndjson"), "garbage\n".repeat(1_000)).unwrap();
    for path in ["events?after=2&follow=false", "output"] {
        let request = server.request("GET", &format!("/v1/sessions/{broken}/{path}"));
        // Refused, or broken off in the middle: anything but a wrong answer that looks right.
        if let Ok(answer) = request.send().await {
            let text = answer.text().await.unwrap_or_default();
            assert!(!text.contains("fine"), "{text}");
        }
    }
    let prompts = format!("/v1/sessions/{broken}/prompts");
    let prompt = Answer::of(server.request("POST", &prompts).json(&json!({ "prompt": "true" }))).await;
    assert_eq!(prompt.status, 500, "{}", prompt.text());
    std::fs::remove_dir_all(folder).unwrap();
    let gone = server
        .ask("GET", &format!("/v1/sessions/{broken}/events"), &Value::Null)
        .await;
    assert_eq!(gone.status, 500, "{}", gone.text());
    server.touch("go");
    assert_eq!(server.settled(&good).await["status"], "completed");
    assert_eq!(server.output(&good, "stdout").await, b"fine\n");
}
