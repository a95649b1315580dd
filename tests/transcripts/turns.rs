//! Turns without a dialog: the bytes, the outcome and the updates of each recording.

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use support::replay::{Recording, recordings};
use support::{Server, assert_same_bytes, outside, repository};

const PROMPT: &str = "hello";

/// How many are played at the same time.
const AT_ONCE: usize = 4;

/// How many characters of a raw line are in the expected files.
const RAW_SHOWN: usize = 90;

/// The outcome that the name of a recording tells: status and cause.
fn expected(name: &str) -> (&'static str, Option<&'static str>) {
    let (agent, case) = name.split_once('-').unwrap();
    match (agent, case) {
        (_, "529") => ("failed", Some("overloaded")),
        (_, "401" | "no-key") => ("failed", Some("auth")),
        (_, "429") => ("failed", Some("quota")),
        // The last word of an interrupted one is missing.
        (_, "400" | "max-turns" | "interrupt") => ("failed", Some("agent_error")),
        _ => ("completed", None),
    }
}

#[tokio::test]
async fn recorded_turns_keep_their_bytes_outcome_and_updates() {
    let programs = outside("replayed-turns");
    let server = Server::with().replaying(&programs).start().await;
    let recordings = recordings().into_iter().filter(|one| !one.is_dialog());
    let wrong = stream::iter(recordings).map(|one| play(&server, one));
    let wrong: Vec<String> = wrong.buffer_unordered(AT_ONCE).concat().await;
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    drop(server);
    std::fs::remove_dir_all(programs).unwrap();
}

/// Plays one; answers what differs.
async fn play(server: &Server, recording: Recording) -> Vec<String> {
    let name = &recording.name;
    let request = json!({
        "agent": recording.agent(), "prompt": PROMPT, "env": { "REPLAY": recording.path }, "mask": false,
    });
    let id = server.create(request).await;
    let session = server.settled(&id).await;
    assert_same_bytes(name, &server.output(&id, "stdout").await, recording.text.as_bytes());
    let mut wrong = Vec::new();
    let turn = &session["turns"][0];
    let outcome = (turn["status"].as_str().unwrap(), turn["cause"].as_str());
    if outcome != expected(name) {
        wrong.push(format!("{name}: {outcome:?} instead of {:?}", expected(name)));
    }
    let golden = repository().join(format!("tests/agents/updates/{name}.txt"));
    let golden = std::fs::read_to_string(golden).unwrap();
    // A line begins with the number of the recording's line.
    let golden: Vec<&str> = golden
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1))
        .collect();
    let updates: Vec<String> = server.updates(&id).await.iter().filter_map(shown).collect();
    if updates != golden {
        let at = updates.iter().zip(&golden).position(|(here, there)| here != there);
        let at = at.unwrap_or(golden.len().min(updates.len()));
        let (here, there) = (updates.get(at), golden.get(at));
        wrong.push(format!("{name}: update {at} is {here:?} instead of {there:?}"));
    }
    wrong
}

/// An update as the expected files have it; `None` for what does not come from the agent.
fn shown(line: &Value) -> Option<String> {
    let mut update = line["update"].as_object()?.clone();
    let is_prompt = update["sessionUpdate"] == "user_message_chunk" && update["content"]["text"] == PROMPT;
    if is_prompt || update.get("stream") == Some(&json!("stderr")) {
        return None;
    }
    if let Some(Value::String(raw)) = update.get_mut("line") {
        *raw = raw.chars().take(RAW_SHOWN).collect();
    }
    // In a session, an id that a translator has given begins with the `seq` of the attempt's start.
    if let Some(Value::String(id)) = update.get_mut("messageId")
        && let Some(number) = id.strip_prefix("2.")
    {
        *id = format!("@{number}");
    }
    Some(Value::from(update).to_string())
}
