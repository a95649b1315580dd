//! An answer grants what its name says, and no more; nothing outlives the session unless the name says so.

use serde_json::{Value, json};
use support::{Builder, Server};

use crate::pretend::{heard, noted, with_program};

/// A server that takes a script for claude: it asks as claude does about a `touch`, and ends when it is answered.
fn with_claude(name: &str) -> Builder {
    let suggestions = json!([
        { "type": "addRules", "rules": [{ "toolName": "Bash", "ruleContent": "touch a.txt" }], "behavior": "allow", "destination": "localSettings" },
        { "type": "addDirectories", "directories": ["/w"], "destination": "session" },
        { "type": "setMode", "mode": "acceptEdits", "destination": "session" },
    ]);
    let request = json!({ "subtype": "can_use_tool", "tool_name": "Bash", "tool_use_id": "t",
        "input": { "command": "touch a.txt" }, "permission_suggestions": suggestions });
    let ask = json!({ "type": "control_request", "request_id": "q", "request": request });
    let script = format!(
        r#"echo "$*" >> arguments
read -r prompt
printf '{{"type":"system","subtype":"init","session_id":"c-1"}}\n'
printf '%s\n' '{ask}'
read -r answer
printf '%s\n' "$answer" >> heard
printf '{{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"c-1","num_turns":1}}\n'
"#
    );
    with_program(name, "claude", &script)
}

async fn asked(server: &Server) -> (String, Value) {
    let id = server
        .create(json!({ "agent": "claude", "prompt": "touch it", "permission": "ask" }))
        .await;
    let question = server.question(&id).await;
    (id, question)
}

fn granted(server: &Server) -> Vec<Value> {
    let answers = heard(server);
    let granted = answers
        .iter()
        .map(|answer| answer["response"]["response"]["updatedPermissions"].clone());
    granted.collect()
}

/// One `allow_always` sent everything back that claude had suggested.
#[tokio::test]
async fn answer_grants_what_its_name_says() {
    let server = with_claude("grants").start().await;
    let (id, question) = asked(&server).await;
    let names: Vec<&str> = question["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|option| option["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert_eq!((names[0], names[5]), ("Allow", "Reject"));
    assert_eq!(names[1], "Allow `touch a.txt` in this session");
    assert!(names[4].contains("kept in .claude/settings.local.json"), "{names:?}");
    let scopes: Vec<&Value> = (1..5).map(|at| &question["options"][at]["scope"]).collect();
    assert_eq!(scopes, ["session", "session", "session", "project"]);
    // Of several options of the kind, the one that grants least.
    let (status, answer) = server.reply(&id, &question, "allow_always").await;
    assert_eq!((status, &answer["option"]), (200, &json!("allow_rules_session")));
    assert_eq!(server.settled(&id).await["status"], "completed");
    let rule = json!({ "toolName": "Bash", "ruleContent": "touch a.txt" });
    let rules = json!({ "type": "addRules", "rules": [rule], "behavior": "allow", "destination": "session" });
    assert_eq!(granted(&server), [json!([rules])]);
    // The next turn is another process of claude, and the session goes on.
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "again" }))
        .await;
    let question = server.question(&id).await;
    server.reply(&id, &question, "allow_edits_session").await;
    server.settled(&id).await;
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "again" }))
        .await;
    let question = server.question(&id).await;
    server.reply(&id, &question, "allow_once").await;
    server.settled(&id).await;
    let edits = json!({ "type": "setMode", "mode": "acceptEdits", "destination": "session" });
    assert_eq!(granted(&server)[1..], [json!([edits]), Value::Null]);
    let started = noted(&server, "arguments");
    assert!(!started[0].contains("--settings"), "{started:?}");
    assert!(
        started[1].contains("--settings") && started[1].contains("--permission-mode default"),
        "{started:?}"
    );
    assert!(
        started[2].contains("--settings") && started[2].contains("--permission-mode acceptEdits"),
        "{started:?}"
    );
    // Another session was granted nothing.
    let (other, question) = asked(&server).await;
    server.reply(&other, &question, "reject_once").await;
    server.settled(&other).await;
    let started = noted(&server, "arguments");
    assert!(
        !started[3].contains("--settings") && started[3].contains("--permission-mode default"),
        "{started:?}"
    );
}

#[tokio::test]
async fn each_grant_can_be_chosen_by_its_id() {
    let server = with_claude("grants-by-id").start().await;
    for (option, expected) in [
        (
            "allow_directories_session",
            json!({ "type": "addDirectories", "directories": ["/w"], "destination": "session" }),
        ),
        (
            "allow_rules_local",
            json!({ "type": "addRules", "rules": [{ "toolName": "Bash", "ruleContent": "touch a.txt" }],
                "behavior": "allow", "destination": "localSettings" }),
        ),
    ] {
        let (id, question) = asked(&server).await;
        assert_eq!(server.reply(&id, &question, option).await.0, 200);
        server.settled(&id).await;
        assert_eq!(granted(&server).pop(), Some(json!([expected])));
    }
}

/// What an agent offers several times for good, without saying for how long, has to be chosen by its id.
#[tokio::test]
async fn kind_that_several_options_have_is_refused() {
    let server = Server::with().scripted().start().await;
    let id = server.act("ask-odd", json!({})).await;
    let question = server.question(&id).await;
    let (status, refusal) = server.reply(&id, &question, "allow_always").await;
    assert_eq!((status, &refusal["field"]), (400, &json!("option")), "{refusal}");
}
