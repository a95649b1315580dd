//! Why a turn failed, as callers see it, and what a retry makes of that.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use support::stand_ins::Home;
use support::{Server, of_type};

/// A server with an agent that writes claude's stream: `FIRST` in its first attempt, `THEN` in all others.
async fn server() -> Server {
    let script = r#"cat > /dev/null; if mkdir begun; then echo "$FIRST"; else echo "$THEN"; fi"#;
    let agent = format!("[agents.said]\ncommand = ['sh', '-c', '{script}']\nstream = 'claude-stream-json'\n");
    Server::with().config(&agent).start().await
}

fn failure(text: &str) -> String {
    json!({ "type": "result", "subtype": "success", "is_error": true, "result": text }).to_string()
}

/// Has the agent fail with this text, and succeed after that.
async fn fail(server: &Server, cwd: &str, text: &str, more: Value) -> String {
    let then = json!({ "type": "result", "subtype": "success", "result": "Done." }).to_string();
    let env = json!({ "FIRST": failure(text), "THEN": then, "API_KEY": "key-of-the-caller" });
    let mut request = json!({ "agent": "said", "prompt": "x", "cwd": cwd, "env": env });
    for (name, value) in more.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    server.create(request).await
}

#[tokio::test]
async fn turn_has_cause_error_and_reset_of_the_agent() {
    let server = server().await;
    let text = "You've hit your session limit · resets 10:30am (key-of-the-caller)";
    let id = fail(&server, "a", text, json!({})).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!("failed"), &json!("quota")),
        "{session}"
    );
    assert_eq!(turn["error"], "You've hit your session limit · resets 10:30am (***)");
    let time = |value: &Value| -> jiff::Timestamp { value.as_str().unwrap().parse().unwrap() };
    let (reset, ended) = (time(&turn["reset_at"]), time(&turn["ended_at"]));
    let wait = reset.duration_since(ended).as_hours();
    assert!(
        (-1..25).contains(&wait) && reset.to_string().contains(":30:00"),
        "{session}"
    );
    let records = server.records(&id).await;
    assert_eq!(time(&of_type(&records, "turn_ended")[0]["reset_at"]), reset);
}

#[tokio::test]
async fn retry_is_for_causes_too() {
    let server = server().await;
    let retry = |on: &str| json!({ "retry": { "max": 2, "delay": 0.01, "on": [on] } });
    let text = "stream disconnected before completion";
    let id = fail(&server, "a", text, retry("network")).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["attempt"]),
        (&json!("completed"), &json!(2)),
        "{session}"
    );
    let id = fail(&server, "b", text, retry("overloaded")).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["cause"], &turn["attempt"]),
        (&json!("network"), &json!(1)),
        "{session}"
    );
    let request = json!({ "agent": "said", "prompt": "x", "retry": { "max": 1, "on": ["netwrok"] } });
    let (status, problem) = server.send("POST", "/v1/sessions", request).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        status == 400 && detail.contains("netwrok") && detail.contains("network"),
        "{problem}"
    );
}

#[tokio::test]
async fn no_attempt_is_spent_before_the_quota_is_full() {
    let server = server().await;
    let retry = json!({ "retry": { "max": 3, "delay": 0.01 } });
    let id = fail(
        &server,
        "a",
        "You've hit your usage limit. Try again in 3 hours.",
        retry,
    )
    .await;
    let record = server.record(&id, "retry").await;
    let delay = record["delay"].as_f64().unwrap();
    assert!((10_000.0..10_801.0).contains(&delay), "{record}");
    server.post(&format!("/v1/sessions/{id}/stop"), json!({})).await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "cancelled", "{session}");
    assert_eq!(of_type(&server.records(&id).await, "started").len(), 1);
    // When it is full again, the attempt is due at once.
    let retry = json!({ "retry": { "max": 3, "delay": 0.01 } });
    let id = fail(&server, "b", "Rate limit reached. Please try again in 0.2s.", retry).await;
    assert_eq!(server.settled(&id).await["status"], "completed");
}

#[tokio::test]
async fn turn_ends_if_its_quota_is_not_full_for_years() {
    let server = server().await;
    let retry = json!({ "retry": { "max": 3, "delay": 0.01 } });
    // In the year 2103, as some agents write it.
    let id = fail(&server, "a", "Claude AI usage limit reached|4200000000", retry).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"], &turn["attempt"]),
        (&json!("failed"), &json!("quota"), &json!(1)),
        "{session}"
    );
    assert!(turn["reset_at"].as_str().unwrap().starts_with("2103-"), "{session}");
}

#[tokio::test]
async fn wrong_key_that_is_being_retried_is_the_cause() {
    let retry = r#"{"type":"system","subtype":"api_retry","error_status":401,"error":"authentication_failed"}"#;
    let script = r#"cat > /dev/null; echo "$RETRY"; exec sleep 1000"#;
    let agent = format!("[agents.retries]\ncommand = ['sh', '-c', '{script}']\nstream = 'claude-stream-json'\n");
    let server = Server::with().config(&agent).start().await;
    for limit in ["timeout", "idle_timeout"] {
        let mut request = json!({ "agent": "retries", "prompt": "x", "env": { "RETRY": retry } });
        request[limit] = json!(1);
        let id = server.create(request).await;
        let session = server.settled(&id).await;
        let turn = &session["turns"][0];
        assert_eq!(
            (&turn["status"], &turn["cause"]),
            (&json!("timed_out"), &json!("auth")),
            "{session}"
        );
        assert!(turn["error"].as_str().unwrap().contains("401"), "{session}");
    }
}

#[tokio::test]
async fn droid_that_exits_without_a_word_has_a_cause_and_an_error() {
    let home = Home::new("silent");
    home.write("droid", "#!/bin/sh\nexit 1\n");
    std::fs::set_permissions(home.0.join("droid"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", home.text(), std::env::var("PATH").unwrap());
    let server = Server::with().env("PATH", path).start().await;
    let id = server.create(json!({ "agent": "droid", "prompt": "x" })).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!("failed"), &json!("network")),
        "{session}"
    );
    assert!(
        turn["error"].as_str().unwrap().contains("Factory's server"),
        "{session}"
    );
}
