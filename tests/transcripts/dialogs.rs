//! Dialogs: promptd says to the agent what it said when they were recorded, and asks its caller the same.
//!
//! Recordings of resumed sessions (`follow-up`, `refused`) need the session before, and are played by unit tests of
//! `promptd-agents` only.

use serde_json::{Value, json};
use support::replay::{Recording, recordings};
use support::{Server, outside, wait_until};

/// What a question is called in the three protocols.
const ASKS: [&str; 3] = ["can_use_tool", "/requestApproval", "session/request_permission"];

#[tokio::test]
async fn recorded_dialogs_are_repeated_word_for_word() {
    let programs = outside("replayed-dialogs");
    let server = Server::with().replaying(&programs).start().await;
    for recording in recordings() {
        let needs_another = recording.name.ends_with("-follow-up") || recording.name.ends_with("-refused");
        if recording.is_dialog() && !needs_another {
            play(&server, &recording).await;
        }
    }
    drop(server);
    std::fs::remove_dir_all(programs).unwrap();
}

async fn play(server: &Server, recording: &Recording) {
    let name = &recording.name;
    let heard = server.root.join(format!("heard-{name}"));
    let said = || -> Vec<Value> {
        let heard = std::fs::read_to_string(&heard).unwrap_or_default();
        heard
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    let (mut expected, mut is_open) = (Vec::new(), false);
    let prompt = recording.events().find_map(|event| text(&event["in"])).unwrap();
    let id = server
        .create(json!({
            "agent": recording.agent(), "prompt": prompt, "permission": "ask", "cwd": name,
            "env": { "REPLAY": recording.path, "REPLAY_HEARD": heard },
        }))
        .await;
    for event in recording.events() {
        if let Some(line) = event.get("in") {
            expected.push(as_here(line, server, name));
        } else if let Some(option) = event.get("answer") {
            let question = server.question(&id).await;
            let (status, answer) = server.reply(&id, &question, option.as_str().unwrap()).await;
            assert_eq!(status, 200, "{name}: {answer}");
            is_open = false;
        } else if let Some(line) = event.get("out") {
            let line = line.to_string();
            is_open |= ASKS.iter().any(|asks| line.contains(asks));
        } else if event.get("interrupt").is_some() {
            wait_until("what comes before the interrupt", || said().len() >= expected.len()).await;
            if is_open {
                server.question(&id).await;
            }
            server.post(&format!("/v1/sessions/{id}/interrupt"), Value::Null).await;
        }
    }
    let session = server.settled(&id).await;
    assert_eq!(said(), expected, "{name}: {session}");
    let turn = &session["turns"][0];
    let (status, cause) = match name.rsplit('-').next().unwrap() {
        "interrupt" => ("cancelled", json!("interrupted")),
        "400" => ("failed", json!("agent_error")),
        _ => ("completed", Value::Null),
    };
    assert_eq!(
        (&turn["status"], &turn["cause"]),
        (&json!(status), &cause),
        "{name}: {session}"
    );
}

/// The prompt, wherever it is in the first line that has one.
fn text(message: &Value) -> Option<String> {
    match message {
        Value::Object(members) => {
            let here = members.get("text").and_then(Value::as_str).map(str::to_owned);
            here.or_else(|| members.values().find_map(text))
        }
        Value::Array(list) => list.iter().find_map(text),
        _ => None,
    }
}

/// A recorded line with the version and the folder of this run.
fn as_here(line: &Value, server: &Server, cwd: &str) -> Value {
    let folder = server.workspace().join(cwd).display().to_string();
    let text = line.to_string();
    let text = text.replace("\"VERSION\"", &format!("\"{}\"", env!("CARGO_PKG_VERSION")));
    serde_json::from_str(&text.replace("\"/w\"", &json!(folder).to_string())).unwrap()
}
