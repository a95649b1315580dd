//! `POST /execute` and `GET /health`: compatible with callers that were written for another system.

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::Server;
use support::http::Answer;

fn request(session: &str, prompt: &str) -> Value {
    json!({ "agentId": "agent-7", "sessionId": session, "prompt": prompt })
}

#[tokio::test]
async fn execute_answers_at_once_and_the_agent_continues() {
    let server = Server::start().await;
    let mut body = request("s-1", "until test -e go; do sleep 0.02; done; echo \"done by $WHO\"");
    body["env"] = json!({ "WHO": "me" });
    body["agent"] = json!("shell");
    body["somethingElse"] = json!({ "that": "callers of others send" });
    let answer = server.ask("POST", "/execute", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.ends_with("ignored: somethingElse"), "{message}");
    assert_eq!(
        answer.body,
        json!({
            "success": true, "agentId": "agent-7", "sessionId": "s-1", "status": "started",
            "message": answer.body["message"],
        })
    );
    let session = server.session("s-1").await;
    assert!(
        session["ended_at"].is_null() && session["status"] != "completed",
        "{session}"
    );
    assert_eq!(session["metadata"]["agentId"], "agent-7");
    server.touch("go");
    assert_eq!(server.settled("s-1").await["status"], "completed");
    assert_eq!(server.output("s-1", "stdout").await, b"done by me\n");
}

#[tokio::test]
async fn same_session_again_is_the_next_turn() {
    let server = Server::start().await;
    for turn in 1..=3 {
        let body = request("s-1", &format!("echo {turn}"));
        assert_eq!(server.post("/execute", body).await["status"], "started");
    }
    let session = server.settled("s-1").await;
    assert_eq!(session["turns"].as_array().unwrap().len(), 3);
    assert_eq!(server.output("s-1", "stdout").await, b"1\n2\n3\n");
    // The very same prompt is a turn of its own, too: this call knows no idempotency.
    server.post("/execute", request("s-1", "echo 3")).await;
    assert_eq!(server.settled("s-1").await["turns"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn fields_of_a_session_are_taken_and_later_ones_named() {
    let server = Server::start().await;
    std::fs::create_dir_all(server.workspace().join("sub")).unwrap();
    let mut body = request("s-1", "basename $PWD; sleep 600");
    body["cwd"] = json!("sub");
    body["idleTimeout"] = json!(0.5);
    body["metadata"] = json!({ "job": 1 });
    let ignored = async |body: &Value| {
        let message = server.post("/execute", body.clone()).await["message"].clone();
        let message = message.as_str().unwrap().to_owned();
        let ignored = message.split_once("ignored: ").map_or("", |(_, names)| names);
        ignored.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ignored(&body).await, [""]);
    let session = server.settled("s-1").await;
    assert_eq!(
        (&session["status"], &session["metadata"]["job"]),
        (&json!("timed_out"), &json!(1))
    );
    assert_eq!(server.output("s-1", "stdout").await, b"sub\n");
    // The same again changes nothing, and says nothing.
    assert_eq!(ignored(&body).await, [""]);
    body["cwd"] = json!("other");
    body["timeout"] = json!(5);
    body["env"] = json!({ "A": "b" });
    body["callback"] = json!("http://x");
    assert_eq!(ignored(&body).await, ["cwd", "timeout", "env", "callback"]);
    let mut wrong = request("s-2", "true");
    wrong["timeout"] = json!("soon");
    let answer = server.ask("POST", "/execute", &wrong).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.body["error"].as_str().unwrap().starts_with("timeout: "),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn storage_changes_only_with_an_accepted_prompt() {
    let config = "[limits]\nrunning = 1\nqueued = 1\n";
    let server = Server::with().config(config).start().await;
    let storage = |key: &str| json!({ "type": "postgresql", "apiUrl": "http://127.0.0.1:9", "apiKey": key });
    let mut body = request("s-1", "until test -e go; do sleep 0.02; done");
    body["storage"] = storage("first-key-000");
    server.post("/execute", body.clone()).await;
    server.record("s-1", "started").await;
    let stored = || std::fs::read_to_string(server.session_folder("s-1").join("session.json")).unwrap();
    let before = stored();
    assert!(before.contains("first-key-000"));
    // One waits, and for a second one there is no room.
    server.post("/execute", request("s-2", "true")).await;
    body["storage"] = storage("second-key-00");
    assert_eq!(server.ask("POST", "/execute", &body).await.status, 429);
    assert_eq!(stored(), before);
    let mut wrong = body.clone();
    wrong["storage"] = json!({ "type": "cloudflare-kv", "accountId": "a" });
    assert_eq!(server.ask("POST", "/execute", &wrong).await.status, 400);
    assert_eq!(stored(), before);
    server.touch("go");
    server.settled("s-2").await;
    assert_eq!(server.ask("POST", "/execute", &body).await.status, 200);
    assert!(stored().contains("second-key-00"));
}

#[tokio::test]
async fn concurrent_turns_of_one_session_are_accepted() {
    let server = Server::start().await;
    for round in 0..5 {
        let session = format!("s-{round}");
        let bodies: Vec<_> = (0..8)
            .map(|number| request(&session, &format!("echo {number}")))
            .collect();
        let answers = join_all(bodies.iter().map(|body| server.ask("POST", "/execute", body))).await;
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(server.settled(&session).await["turns"].as_array().unwrap().len(), 8);
        let output = String::from_utf8(server.output(&session, "stdout").await).unwrap();
        let mut lines: Vec<_> = output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0", "1", "2", "3", "4", "5", "6", "7"], "each ran once");
    }
}

#[tokio::test]
async fn execute_errors_have_their_own_shape() {
    let server = Server::start().await;
    let required = "agentId, sessionId, and prompt are required";
    for missing in ["agentId", "sessionId", "prompt"] {
        for value in [None, Some(json!("")), Some(Value::Null)] {
            let mut body = request("s", "true");
            match value {
                Some(value) => body[missing] = value,
                None => drop(body.as_object_mut().unwrap().remove(missing)),
            }
            let answer = server.ask("POST", "/execute", &body).await;
            assert_eq!(
                (answer.status, &answer.body),
                (400, &json!({ "error": required })),
                "{body}"
            );
            assert_eq!(answer.header("content-type"), "application/json");
        }
    }
    let mut stored = request("s", "true");
    stored["storage"] = json!({ "type": "postgresql", "apiUrl": "very-secret", "apiKey": "very-secret" });
    let mut keyless = request("s", "true");
    keyless["storage"] = json!({ "type": "postgresql", "apiUrl": "http://x" });
    let mut unknown = request("s", "true");
    unknown["agent"] = json!("shel");
    for (body, status, says) in [
        (request("a/b", "true"), 400, "sessionId"),
        (stored, 400, "storage.apiUrl"),
        (keyless, 400, "storage.apiKey"),
        (unknown, 422, "did you mean \"shell\"?"),
    ] {
        let answer = server.ask("POST", "/execute", &body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(says) && !error.contains("very-secret"), "{error}");
        assert_eq!(answer.body.as_object().unwrap().len(), 1);
        assert!(!answer.header("promptd-version").is_empty());
    }
    let broken = server.raw("POST", "/execute", "application/json", "{").await;
    assert_eq!(broken.status, 400);
    assert!(
        broken.body["error"].as_str().unwrap().contains("line 1"),
        "{}",
        broken.body
    );
    assert_eq!(server.get("/v1/sessions").await["sessions"], json!([]));
}

#[tokio::test]
async fn health_reports_only_health() {
    let server = Server::with().env("PROMPTD_TOKEN", "t").start().await;
    let answer = Answer::of(server.request("GET", "/health")).await;
    assert_eq!(answer.status, 200);
    let timestamp = answer.body["timestamp"].as_str().unwrap();
    assert!(timestamp.ends_with('Z') && timestamp.contains('T'), "{timestamp}");
    assert_eq!(
        answer.body,
        json!({ "status": "healthy", "timestamp": timestamp, "storageConfigured": false })
    );
}

/// A disk that is full for `session.json` only, and one that is full for the journal only: each file has a limit.
#[tokio::test]
async fn storage_and_prompt_are_accepted_together_or_not_at_all() {
    const LIMITED: &str = "trap '' XFSZ; exec prlimit --fsize=102400 \"$@\"";
    let server = Server::with().runner(&["sh", "-c", LIMITED, "sh"]).start().await;
    let storage = |key: &str| json!({ "type": "postgresql", "apiUrl": "http://127.0.0.1:9", "apiKey": key });
    let mut first = request("s-1", "true");
    first["metadata"] = json!({ "much": "x".repeat(90_000) });
    server.post("/execute", first).await;
    server.settled("s-1").await;
    let mut second = request("s-1", "true");
    second["storage"] = storage(&"k".repeat(20_000));
    let refused = server.ask("POST", "/execute", &second).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert_eq!(server.session("s-1").await["turns"].as_array().unwrap().len(), 1);
    second["storage"] = storage("short-key-1");
    assert_eq!(server.ask("POST", "/execute", &second).await.status, 200);
    assert_eq!(server.settled("s-1").await["turns"].as_array().unwrap().len(), 2);

    let long = format!("true # {}", "x".repeat(60_000));
    server.post("/execute", request("s-2", &long)).await;
    server.settled("s-2").await;
    let folder = server.session_folder("s-2");
    let before = std::fs::read(folder.join("session.json")).unwrap();
    let mut second = request("s-2", &long);
    second["storage"] = storage("second-key-2");
    let refused = server.ask("POST", "/execute", &second).await;
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert_eq!(std::fs::read(folder.join("session.json")).unwrap(), before);
    assert!(!folder.join("session.json.new").exists());
    let session = server.session("s-2").await;
    assert_eq!(
        (session["turns"].as_array().unwrap().len(), &session["sinks"]),
        (1, &json!([]))
    );
}

#[tokio::test]
async fn field_of_a_wrong_type_is_named() {
    let server = Server::start().await;
    for (field, value, named) in [
        ("agentId", json!(7), "agentId: "),
        ("sessionId", json!(["s"]), "sessionId: "),
        ("prompt", json!({ "text": "x" }), "prompt: "),
        ("agent", json!(true), "agent: "),
        ("env", json!(["A=b"]), "env: "),
        ("env", json!({ "A": 1 }), "env.A: "),
        ("storage", json!("postgresql"), "storage: "),
        ("storage", json!({ "type": "redis" }), "storage.type: "),
        (
            "storage",
            json!({ "type": "postgresql", "apiUrl": 7 }),
            "storage.apiUrl: ",
        ),
        ("idleTimeout", json!("soon"), "idleTimeout: "),
        ("mcpServers", json!([]), "mcpServers: "),
        ("retry", json!({ "max": "often" }), "retry.max: "),
        ("cwd", json!(7), "cwd: "),
    ] {
        let mut body = request("s-1", "true");
        body[field] = value;
        let answer = server.ask("POST", "/execute", &body).await;
        let error = answer.body["error"].as_str().unwrap();
        assert!(answer.status == 400 && error.starts_with(named), "{field}: {error}");
    }
}
