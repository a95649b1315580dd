//! Copilot's streams as recorded from 1.0.102.

use super::transcript::transcript;
use crate::formats::copilot_json::COPILOT_JSON;
use crate::tests::{final_event, observe, recorded};
use promptd_model::{Cause, StopReason, Usage};

const TOOL: &str = recorded!("copilot-tool");
const PLAIN: &str = recorded!("copilot-plain");
const THINK: &str = recorded!("copilot-think");
const FOLLOW_UP: &str = recorded!("copilot-follow-up");
const INTERRUPT: &str = recorded!("copilot-interrupt");
const BAD_REQUEST: &str = recorded!("copilot-400");
const NO_KEY: &str = recorded!("copilot-401");
const TOO_MANY: &str = recorded!("copilot-429");

#[test]
fn the_result_has_answer_and_session() {
    let seen = observe("copilot", PLAIN);
    assert!(seen.agent_session_id.is_some());
    assert_eq!(observe("copilot", FOLLOW_UP).agent_session_id, seen.agent_session_id);
    let event = seen.final_event.unwrap();
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    assert_eq!(event.usage, Usage::default());
    assert_eq!(final_event("copilot", TOOL).result.as_deref(), Some("Answer 1."));
}

#[test]
fn a_refused_request_has_a_cause() {
    for (stream, cause, error) in [
        (BAD_REQUEST, Cause::AgentError, "400 scripted failure"),
        (NO_KEY, Cause::Auth, "Authentication failed with provider"),
        (TOO_MANY, Cause::Quota, "Failed to get response from the AI model"),
    ] {
        let event = final_event("copilot", stream);
        assert_eq!(event.outcome, Err(cause));
        assert!(event.error.unwrap().starts_with(error));
    }
}

#[test]
fn an_aborted_turn_is_no_success() {
    assert_eq!(observe("copilot", INTERRUPT).final_event, None);
    let by_sigterm = format!("{INTERRUPT}{}", r#"{"type":"result","sessionId":"s","exitCode":0}"#);
    let event = final_event("copilot", &by_sigterm);
    assert_eq!(
        (event.outcome, event.stop_reason),
        (Err(Cause::AgentError), Some(StopReason::Cancelled))
    );
}

#[test]
fn output_becomes_acp_updates() {
    let updates = transcript("copilot", TOOL);
    let updates: Vec<_> = updates.iter().filter(|line| !line.starts_with("raw ")).collect();
    assert_eq!(
        updates,
        [
            r#"tool_call call_2 in_progress execute printf made > made.txt """#,
            r#"tool_call_update call_2 in_progress """#,
            r#"tool_call_update call_2 completed "\n<shellId: 0 completed with exit code 0>""#,
            r#"message "Answer ""#,
            r#"message "1""#,
            r#"message ".""#,
        ]
    );
    let updates = transcript("copilot", THINK);
    let updates: Vec<_> = updates.iter().filter(|line| !line.starts_with("raw ")).collect();
    assert_eq!(
        updates[..3],
        [r#"thought "Hmm""#, r#"thought ", let me see.""#, r#"message "Answer ""#]
    );
    assert!(transcript("copilot", BAD_REQUEST).contains(&"raw session.error".to_owned()));
}

#[test]
fn an_answer_without_chunks_is_one_update() {
    let whole = r#"{"type":"assistant.message","data":{"messageId":"m","content":"All of it."}}"#;
    assert_eq!(transcript("copilot", whole), [r#"message "All of it.""#]);
}

#[test]
fn a_message_without_an_id_is_new() {
    let mut translator = COPILOT_JSON.translator.unwrap()();
    for kind in ["assistant.message", "assistant.reasoning"] {
        let line = format!(r#"{{"type":"{kind}","data":{{"content":"said"}}}}"#);
        assert_eq!(
            translator.translate_line(line.as_bytes()).map(|updates| updates.len()),
            Some(1),
            "{kind}"
        );
    }
}
