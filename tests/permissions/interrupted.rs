//! What is left of an interrupted or stopped turn: no error, no open call, and no silence about what the agent forgets.

use serde_json::{Value, json};
use support::{Server, of_type};

use crate::pretend::with_program;

/// An agent that speaks ACP. It begins a call and asks about it, and does not end it when it is cancelled.
const AGENT: &str = r#"
say() { printf '%s\n' "$1"; }
while read -r line; do
  case "$line" in
    *'"method":"initialize"'*) say '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}' ;;
    *'"method":"session/new"'*) say '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}' ;;
    *'"method":"session/prompt"'*)
      say '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"tool_call","toolCallId":"c","title":"touch it","kind":"execute","status":"in_progress"}}}'
      say '{"jsonrpc":"2.0","id":77,"method":"session/request_permission","params":{"sessionId":"s","toolCall":{"toolCallId":"c"},"options":[{"optionId":"yes","name":"Yes","kind":"allow_once"}]}}' ;;
    *'"method":"session/cancel"'*) say '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"cancelled"}}' ;;
    *'"optionId":"yes"'*)
      say '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"tool_call_update","toolCallId":"c","status":"completed"}}}'
      say '{"jsonrpc":"2.0","id":3,"result":{"stopReason":"end_turn"}}' ;;
  esac
done
"#;

/// The states of the call in `view=updates`, in order.
async fn call_states(server: &Server, id: &str) -> Vec<String> {
    let updates = server.updates(id).await;
    let states = updates.iter().filter(|line| line["update"]["toolCallId"] == "c");
    let states = states.filter_map(|line| line["update"]["status"].as_str().map(str::to_owned));
    states.collect()
}

/// The call stayed open for ever, and the turn had the agent's words about its own end as an error.
#[tokio::test]
async fn stopped_turn_has_no_open_call_and_no_error() {
    let server = with_program("interrupted-call", "gemini", AGENT).start().await;
    for (how, body) in [("interrupt", json!({})), ("stop", json!({ "grace": 0 }))] {
        let id = server
            .create(json!({ "agent": "gemini", "prompt": "go", "permission": "ask" }))
            .await;
        server.question(&id).await;
        server.post(&format!("/v1/sessions/{id}/{how}"), body).await;
        let session = server.settled(&id).await;
        let turn = &session["turns"][0];
        assert_eq!(
            (&turn["status"], &turn["error"]),
            (&json!("cancelled"), &Value::Null),
            "{how}: {turn}"
        );
        assert_eq!(turn["stop_reason"], "cancelled");
        assert_eq!(call_states(&server, &id).await, ["in_progress", "failed"], "{how}");
    }
    // A call that has ended is not touched.
    let id = server
        .create(json!({ "agent": "gemini", "prompt": "go", "permission": "ask" }))
        .await;
    let question = server.question(&id).await;
    server.reply(&id, &question, "yes").await;
    server.settled(&id).await;
    assert_eq!(call_states(&server, &id).await, ["in_progress", "completed"]);
}

/// The next turn began a new conversation, and nothing said so.
#[tokio::test]
async fn turn_says_what_its_agent_has_forgotten() {
    let server = Server::with().scripted().start().await;
    let id = server.act("hang", json!({})).await;
    server.hears("", "session/prompt").await;
    // Nothing of the agent has been heard by then, not even that it has stored the prompt.
    server
        .post(&format!("/v1/sessions/{id}/stop"), json!({ "grace": 0 }))
        .await;
    server.settled(&id).await;
    let prompts = format!("/v1/sessions/{id}/prompts");
    for text in ["say Two.", "say Three."] {
        server.post(&prompts, json!({ "prompt": text })).await;
        server.settled(&id).await;
    }
    let session = server.session(&id).await;
    let forgotten: Vec<&Value> = (0..3).map(|turn| &session["turns"][turn]["forgotten_turns"]).collect();
    assert_eq!(forgotten, [&json!([]), &json!([1]), &json!([])], "{session}");
    let records = server.records(&id).await;
    let said = of_type(&records, "forgotten");
    assert_eq!(
        (said.len(), &said[0]["turn"], &said[0]["turns"]),
        (1, &json!(2), &json!([1]))
    );
    let updates = server.updates(&id).await;
    assert_eq!(
        of_type(&updates, "forgotten").len(),
        1,
        "readers of updates see it, too"
    );
    // Where a caller asked for it, nothing is said.
    server
        .post(&prompts, json!({ "prompt": "say Four.", "fresh": true }))
        .await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][3]["forgotten_turns"], json!([]));
}
