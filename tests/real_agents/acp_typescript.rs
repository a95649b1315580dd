//! `/v1/acp` with the protocol's own TypeScript library as its client.

use serde_json::{Value, json};
use support::acp::scripted;
use support::lab::Lab;
use support::node;

#[tokio::test]
async fn typescript_library_prompts_cancels_and_loads() {
    let mut server = scripted("acp-typescript").start().await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    let (url, cwd) = (
        format!("ws://{}/v1/acp", server.address),
        server.workspace().display().to_string(),
    );
    let begin = json!({ "say": "go", "hang": "please hang" }).to_string();
    let heard = node::client("acp.ts", &[&format!("{url}?agent=gemini"), &cwd, &begin]).await;
    assert_eq!(heard["about"]["agentCapabilities"]["loadSession"], true);
    assert_eq!(heard["ends"], json!(["end_turn", "cancelled"]));
    assert_eq!(heard["questions"][0]["toolCall"]["toolCallId"], "call-1");
    assert!(said(&heard["updates"]).starts_with("I ask.You said yes."), "{heard}");
    let kinds: Vec<&Value> = list(&heard["updates"]).map(|update| &update["sessionUpdate"]).collect();
    assert!(
        kinds.contains(&&json!("tool_call")) && kinds.contains(&&json!("tool_call_update")),
        "{kinds:?}"
    );

    server.kill();
    server.start_again().await;
    let load = json!({ "session": heard["session"] }).to_string();
    let loaded = node::client("acp.ts", &[&url, &cwd, &load]).await;
    assert_eq!(said(&loaded["updates"]), said(&heard["updates"]));
    let asked = list(&loaded["updates"]).filter(|update| update["sessionUpdate"] == "user_message_chunk");
    assert_eq!(asked.count(), 2, "{loaded}");
    assert_eq!(loaded["questions"], json!([]), "what was answered is not asked again");
}

/// The library drives the real program: it answers its question, cancels it, and goes on after the server was killed.
async fn is_driven(agent: &str) {
    let mut lab = Lab::new(agent).await;
    let cwd = lab.server.workspace();
    std::fs::create_dir_all(&cwd).unwrap();
    let (url, folder) = (format!("ws://{}/v1/acp", lab.server.address), cwd.display().to_string());
    let begin = json!({ "meta": { "promptd": lab.base() }, "hang": "please\nmodel: hang",
        "say": "please\nmodel: run printf made > made.txt" });
    let heard = node::client("acp.ts", &[&url, &folder, &begin.to_string()]).await;
    assert_eq!(heard["ends"], json!(["end_turn", "cancelled"]), "{heard}");
    assert_eq!(
        std::fs::read_to_string(cwd.join("made.txt")).unwrap(),
        "made",
        "{heard}"
    );
    let questions = heard["questions"].as_array().unwrap();
    assert_eq!(questions.len(), 1, "{heard}");
    assert!(questions[0].to_string().contains("made.txt"), "{heard}");
    assert!(said(&heard["updates"]).contains("Answer 1."), "{heard}");
    let ended = |update: &Value| update["sessionUpdate"] == "tool_call_update" && update["status"] == "completed";
    assert!(list(&heard["updates"]).any(ended), "{heard}");

    lab.server.kill();
    lab.server.start_again().await;
    let load = json!({ "session": heard["session"], "say": "and now?" }).to_string();
    let loaded = node::client("acp.ts", &[&url, &folder, &load]).await;
    assert_eq!(
        (&loaded["ends"], &loaded["questions"]),
        (&json!(["end_turn"]), &json!([])),
        "{loaded}"
    );
    // All of before, and the agent remembers it.
    let replayed = said(&loaded["replayed"]);
    assert_eq!(replayed, said(&heard["updates"]));
    assert_eq!(said(&loaded["updates"]), format!("{replayed}Answer 2."), "{loaded}");
}

#[tokio::test]
async fn typescript_library_drives_claude() {
    is_driven("claude").await;
}

#[tokio::test]
async fn typescript_library_drives_gemini() {
    is_driven("gemini").await;
}

fn list(updates: &Value) -> impl Iterator<Item = &Value> {
    updates.as_array().unwrap().iter()
}

fn said(updates: &Value) -> String {
    let said = list(updates).filter(|update| update["sessionUpdate"] == "agent_message_chunk");
    said.filter_map(|update| update["content"]["text"].as_str()).collect()
}
