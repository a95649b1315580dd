//! Interrupts use the agent's protocol, and end the turn even if the agent ignores them.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use support::{PATIENCE, Server, folder, of_type, procs, wait_until};

async fn interrupt(server: &Server, id: &str) {
    server.post(&format!("/v1/sessions/{id}/interrupt"), Value::Null).await;
}

#[tokio::test]
async fn interrupt_uses_the_protocol_and_the_session_continues() {
    let server = Server::with().scripted().start().await;
    let id = server.act("say One.\nhang", json!({})).await;
    server.hears("", "session/prompt").await;
    interrupt(&server, &id).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!("cancelled"), &json!("interrupted")),
        "{session}"
    );
    assert_eq!(
        (&turn["stop_reason"], &turn["exit_code"]),
        (&json!("cancelled"), &json!(0))
    );
    assert_eq!(
        server.heard_in_short("")[4..],
        ["session/cancel".to_owned(), "EOF".to_owned()]
    );
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "say Two." }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][1]["result"], "Two.", "{session}");
}

#[tokio::test]
async fn interrupt_answers_open_questions() {
    let server = Server::with().scripted().start().await;
    let id = server.act("ask\nhang", json!({})).await;
    server.question(&id).await;
    interrupt(&server, &id).await;
    let session = server.settled(&id).await;
    assert_eq!(session["status"], "cancelled", "{session}");
    let records = server.records(&id).await;
    let answer = of_type(&records, "permission_answer")[0];
    assert_eq!(
        (&answer["option"], &answer["by"]),
        (&json!("cancelled"), &json!("interrupt"))
    );
    let heard = ["session/cancel", "cancelled", "EOF"].map(str::to_owned);
    assert_eq!(server.heard_in_short("")[4..], heard);
}

#[tokio::test]
async fn interrupt_survives_a_server_kill() {
    let mut server = Server::with().scripted().start().await;
    let id = server.act("deaf\nask\nwait go", json!({})).await;
    server.question(&id).await;
    interrupt(&server, &id).await;
    server.hears("", "cancelled").await;
    server.kill();
    server.start_again().await;
    server.touch("go");
    // It ends by itself now, and everybody knows that it was to end.
    let session = server
        .session_when(&id, |session| session["turns"][0]["ended_at"].is_string())
        .await;
    assert_eq!(session["turns"][0]["cause"], "interrupted", "{session}");
    let heard = server.heard_in_short("");
    let cancels = heard.iter().filter(|line| line.starts_with("session/cancel")).count();
    assert_eq!(cancels, 1, "{heard:?}");
}

/// Nobody but the former server knew: the turn had "failed", and was tried again.
#[tokio::test]
async fn agent_exit_without_server_still_ends_cancelled() {
    let mut server = Server::with().scripted().start().await;
    let retry = json!({ "max": 1, "delay": 0.01 });
    let id = server.act("wait go\nexit 3", json!({ "retry": retry })).await;
    server.hears("", "session/prompt").await;
    let agent = server.record(&id, "started").await["pid"].as_i64().unwrap();
    interrupt(&server, &id).await;
    server.hears("", "session/cancel").await;
    server.kill();
    server.touch("go");
    let agent = agent.try_into().unwrap();
    wait_until("the agent's end", || !procs::lives(agent)).await;
    server.start_again().await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["cause"], &turn["attempt"]),
        (&json!("cancelled"), &json!("interrupted"), &json!(1)),
        "{session}"
    );
}

#[tokio::test]
async fn agent_that_ignores_the_interrupt_is_killed() {
    let mut server = Server::with().scripted().start().await;
    // Ten seconds for the interrupt and ten for the stop pass without a sign.
    server.patience = PATIENCE * 2;
    let id = server.act("deaf\nsay Never.\norphan\nhang", json!({})).await;
    server.hears("", "session/prompt").await;
    interrupt(&server, &id).await;
    server.hears("", "session/cancel").await;
    assert_eq!(server.session(&id).await["status"], "running");
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "interrupted", "{session}");
    assert_eq!(session["turns"][0]["signal"], "SIGKILL");
    wait_until("the tree's end", || procs::marked(&server.home()).is_empty()).await;
}

#[tokio::test]
async fn agent_that_stays_after_its_answer_is_ended() {
    let server = Server::with().scripted().start().await;
    let id = server.act("linger\norphan\nsay Done.", json!({})).await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][0];
    assert_eq!(
        (&turn["status"], &turn["result"]),
        (&json!("completed"), &json!("Done.")),
        "{session}"
    );
    // Until it is ended it gets less than two seconds, on a machine that is not busy; an agent that promptd does not talk
    // with gets ten.
    assert!(turn["duration"].as_f64().unwrap() < 9.0, "{turn}");
    let exited = server.record(&id, "exited").await;
    assert_eq!(
        (&exited["lingered"], &exited["cause"]),
        (&json!(true), &Value::Null),
        "{exited}"
    );
    wait_until("the tree's end", || procs::marked(&server.home()).is_empty()).await;
}

#[tokio::test]
async fn process_left_behind_by_the_agent_survives() {
    let server = Server::with().scripted().start().await;
    let id = server.act("orphan\nsay Done.", json!({})).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["leftover_processes"], 1, "{session}");
    assert_eq!(server.record(&id, "exited").await["lingered"], Value::Null);
    assert_eq!(procs::marked(&server.home()).len(), 1);
}

/// The time to answer passed while the turn waited for a process that its agent had left, which was taken for a pause.
#[tokio::test]
async fn turn_ends_after_a_crash_beside_a_question() {
    let mut server = Server::with().scripted().start().await;
    // A process that is left behind is waited for.
    server.patience = Duration::from_secs(60);
    let id = server.act("orphan\nask", json!({ "permission_timeout": 10.0 })).await;
    server.question(&id).await;
    let agent = server.record(&id, "started").await["pid"].as_i64().unwrap();
    procs::signal(agent.try_into().unwrap(), "KILL");
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["status"], "failed", "{session}");
    assert_eq!(session["turns"][0]["leftover_processes"], 1, "{session}");
}

#[tokio::test]
async fn garbage_is_ignored_and_an_early_exit_fails() {
    let server = Server::with().scripted().start().await;
    let id = server.act("garbage\nask\nsay Done.", json!({})).await;
    let question = server.question(&id).await;
    server.reply(&id, &question, "allow_once").await;
    assert_eq!(
        server.settled(&id).await["turns"][0]["result"],
        "told allow-once. Done."
    );
    let id = server.act("ask\nexit 0", json!({ "cwd": "early" })).await;
    let question = server.question(&id).await;
    server.reply(&id, &question, "allow_once").await;
    let session = server.settled(&id).await;
    assert_eq!(
        (&session["status"], &session["pending_permissions"]),
        (&json!("failed"), &json!([])),
        "{session}"
    );
}

#[tokio::test]
async fn agent_that_loses_its_session_fails_the_turn() {
    let server = Server::with().scripted().start().await;
    let id = server
        .create(json!({ "agent": "forgetful", "permission": "ask", "prompt": "say One." }))
        .await;
    assert_eq!(server.settled(&id).await["agent_session_id"], "session-1");
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "say Two." }))
        .await;
    let session = server.settled(&id).await;
    let turn = &session["turns"][1];
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!("failed"), &json!("conversation_lost")),
        "{session}"
    );
    assert_eq!(session["agent_session_id"], "session-1");
    let records = server.records(&id).await;
    let error = of_type(&records, "turn_ended")[1]["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("\"session-1\"") && error.contains("\"session-2\""),
        "{error}"
    );
}

/// A `claude` that is not talked with: it begins another session whenever it is to resume one.
const FORGETFUL_CLAUDE: &str = r#"#!/bin/sh
cat > /dev/null
echo "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"$$\"}"
echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"Done.\",\"session_id\":\"$$\"}"
"#;

#[tokio::test]
async fn agent_without_dialog_that_loses_its_session_fails() {
    let programs = folder("programs");
    let claude = programs.join("claude");
    std::fs::write(&claude, FORGETFUL_CLAUDE).unwrap();
    std::fs::set_permissions(&claude, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let server = Server::with().env("PATH", path).start().await;
    let id = server.create(json!({ "agent": "claude", "prompt": "one" })).await;
    let first = server.settled(&id).await;
    assert_eq!(first["status"], "completed", "{first}");
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "two" }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(
        (&session["status"], &session["turns"][1]["cause"]),
        (&json!("failed"), &json!("conversation_lost")),
        "{session}"
    );
    assert_eq!(session["agent_session_id"], first["agent_session_id"]);
    std::fs::remove_dir_all(programs).unwrap();
}
