//! An agent that is talked with has to answer before it gets its prompt, and may have lost its conversation.

use serde_json::{Value, json};
use support::{Server, of_type};

#[tokio::test]
async fn agent_that_never_answers_fails_with_the_reason() {
    let mut server = Server::with().scripted().start().await;
    // The time for an answer passes without a sign.
    server.patience *= 3;
    let mut sessions = Vec::new();
    for (agent, method) in [("silent-at-start", "initialize"), ("silent-at-session", "session/new")] {
        let id = server.act("say Never.", json!({ "agent": agent, "cwd": agent })).await;
        sessions.push((agent, method, id));
    }
    for (agent, method, id) in sessions {
        let session = server.settled(&id).await;
        let turn = &session["turns"][0];
        assert_eq!(
            (&turn["status"], &turn["cause"]),
            (&json!("failed"), &json!("agent_error")),
            "{session}"
        );
        let error = turn["error"].as_str().unwrap();
        assert!(error.contains(&format!("did not answer `{method}`")), "{error}");
        let heard = server.heard(agent);
        assert!(heard.contains(&"EOF".to_owned()), "its input was not closed: {heard:?}");
    }
}

#[tokio::test]
async fn lost_conversation_has_a_cause_and_can_begin_anew() {
    let server = Server::with().scripted().start().await;
    let retry = json!({ "max": 3, "delay": 0.01 });
    let id = server.act("say One.", json!({ "agent": "lost", "retry": retry })).await;
    let first = server.settled(&id).await["agent_session_id"].clone();
    let path = format!("/v1/sessions/{id}/prompts");
    server.post(&path, json!({ "prompt": "say Two." })).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][1];
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!("failed"), &json!("conversation_lost")),
        "{session}"
    );
    assert_eq!(turn["attempt"], 1, "no attempt can succeed: {session}");
    assert_eq!(session["agent_session_id"], first);

    server
        .post(&path, json!({ "prompt": "say Three.", "fresh": true }))
        .await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][2];
    assert_eq!(
        (&turn["status"], &turn["result"]),
        (&json!("completed"), &json!("Three.")),
        "{session}"
    );
    let shown: Vec<&Value> = session["turns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| &turn["fresh"])
        .collect();
    assert_eq!(shown, [false, false, true]);
    assert_ne!(session["agent_session_id"], first);
    let records = server.records(&id).await;
    let recorded: Vec<&Value> = of_type(&records, "prompt")
        .into_iter()
        .map(|prompt| &prompt["fresh"])
        .collect();
    assert_eq!(recorded, [&Value::Null, &Value::Null, &json!(true)]);
}

#[tokio::test]
async fn a_key_of_a_fresh_prompt_is_no_key_of_another() {
    let server = Server::with().scripted().start().await;
    let id = server.act("say One.", json!({})).await;
    let send = async |fresh: bool| {
        let path = format!("/v1/sessions/{id}/prompts");
        let request = server.request("POST", &path).header("Idempotency-Key", "k");
        let answer = request
            .json(&json!({ "prompt": "say Two.", "fresh": fresh }))
            .send()
            .await
            .unwrap();
        answer.status().as_u16()
    };
    assert_eq!([send(true).await, send(true).await, send(false).await], [202, 200, 409]);
}

#[tokio::test]
async fn fresh_works_over_websockets_too() {
    let server = Server::with().scripted().start().await;
    let id = server.act("say One.", json!({ "agent": "lost" })).await;
    server.settled(&id).await;
    let mut client = server.ws(&format!("/v1/sessions/{id}/ws")).await;
    client
        .command(json!({ "type": "prompt", "prompt": "say Two.", "fresh": true }))
        .await;
    client
        .until(|message| message["type"] == "turn_ended" && message["turn"] == 2)
        .await;
    let session = server.session(&id).await;
    assert_eq!(
        (&session["turns"][1]["fresh"], &session["status"]),
        (&json!(true), &json!("completed"))
    );
    // On the bare host, where each further message is the next turn.
    let mut bare = server.ws("/").await;
    bare.command(json!({ "agent": "lost", "prompt": "say One." })).await;
    bare.until(|message| message["type"] == "turn_ended").await;
    for (prompt, status) in [
        (json!({ "prompt": "say Two." }), "failed"),
        (json!({ "prompt": "say Three.", "fresh": true }), "completed"),
    ] {
        bare.command(prompt).await;
        let heard = bare.until(|message| message["type"] == "turn_ended").await;
        assert_eq!(heard.last().unwrap()["status"], status, "{heard:?}");
    }
}

/// A login with a key needs no person, and nobody asked for it.
#[tokio::test]
async fn agent_that_demands_a_login_is_logged_in_with_its_key() {
    let server = Server::with().scripted().start().await;
    let with_key = json!({ "agent": "locked", "cwd": "key", "env": { "AGENT_KEY": "k-0123456789" } });
    let id = server.act("say Hello.", with_key).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["result"], "Hello.", "{session}");
    let methods = [
        "START",
        "initialize",
        "session/new",
        "authenticate",
        "session/new",
        "session/prompt",
        "EOF",
    ];
    assert_eq!(server.heard_in_short("key"), methods);
    // The next turn resumes, and has to log in, too.
    let prompts = format!("/v1/sessions/{id}/prompts");
    server.post(&prompts, json!({ "prompt": "say Again." })).await;
    assert_eq!(server.settled(&id).await["turns"][1]["result"], "Again.");

    let id = server
        .act("say Hello.", json!({ "agent": "locked", "cwd": "none" }))
        .await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!("failed"), &json!("auth")),
        "{session}"
    );
    let error = turn["error"].as_str().unwrap();
    assert!(
        error.contains("AGENT_KEY is not set") && error.contains("Log in with a browser"),
        "{error}"
    );
}
