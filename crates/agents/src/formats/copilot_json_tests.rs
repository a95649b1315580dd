//! Copilot's streams as recorded from 1.0.102.

use super::super::super::tests::{final_event, observe};
use super::super::transcript::transcript;
use super::*;

pub(crate) const TOOL: &str = include_str!("../../../../tests/agents/recorded/copilot-tool.ndjson");
const PLAIN: &str = include_str!("../../../../tests/agents/recorded/copilot-plain.ndjson");
const THINK: &str = include_str!("../../../../tests/agents/recorded/copilot-think.ndjson");
const FOLLOW_UP: &str = include_str!("../../../../tests/agents/recorded/copilot-follow-up.ndjson");
const INTERRUPT: &str = include_str!("../../../../tests/agents/recorded/copilot-interrupt.ndjson");
const BAD_REQUEST: &str = include_str!("../../../../tests/agents/recorded/copilot-400.ndjson");
const NO_KEY: &str = include_str!("../../../../tests/agents/recorded/copilot-401.ndjson");
const TOO_MANY: &str = include_str!("../../../../tests/agents/recorded/copilot-429.ndjson");

#[test]
fn the_result_ends_the_turn_with_the_last_answer_and_names_the_session() {
    let seen = observe("copilot", PLAIN);
    assert!(seen.agent_session_id.is_some());
    assert_eq!(observe("copilot", FOLLOW_UP).agent_session_id, seen.agent_session_id);
    let event = seen.final_event.unwrap();
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    assert_eq!(event.usage, Usage::default());
    assert_eq!(final_event("copilot", TOOL).result.as_deref(), Some("Answer 1."));
}

#[test]
fn what_the_model_refused_tells_its_cause() {
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
fn an_aborted_turn_is_no_success_whatever_its_exit_code() {
    assert_eq!(observe("copilot", INTERRUPT).final_event, None);
    let by_sigterm = format!("{INTERRUPT}{}", r#"{"type":"result","sessionId":"s","exitCode":0}"#);
    let event = final_event("copilot", &by_sigterm);
    assert_eq!(
        (event.outcome, event.stop_reason),
        (Err(Cause::AgentError), Some(StopReason::Cancelled))
    );
}

#[test]
fn a_turn_is_told_in_acps_words() {
    let told = transcript("copilot", TOOL);
    let told: Vec<_> = told.iter().filter(|line| !line.starts_with("raw ")).collect();
    assert_eq!(
        told,
        [
            r#"tool_call call_2 in_progress execute printf made > made.txt """#,
            r#"tool_call_update call_2 in_progress """#,
            r#"tool_call_update call_2 completed "\n<shellId: 0 completed with exit code 0>""#,
            r#"message "Answer ""#,
            r#"message "1""#,
            r#"message ".""#,
        ]
    );
    let told = transcript("copilot", THINK);
    let told: Vec<_> = told.iter().filter(|line| !line.starts_with("raw ")).collect();
    assert_eq!(
        told[..3],
        [r#"thought "Hmm""#, r#"thought ", let me see.""#, r#"message "Answer ""#]
    );
    assert!(transcript("copilot", BAD_REQUEST).contains(&"raw session.error".to_owned()));
}

#[test]
fn an_answer_that_did_not_come_in_pieces_is_told_as_a_whole() {
    let whole = r#"{"type":"assistant.message","data":{"messageId":"m","content":"All of it."}}"#;
    assert_eq!(transcript("copilot", whole), [r#"message "All of it.""#]);
}

#[test]
fn a_message_without_an_id_is_not_taken_for_one_that_was_told() {
    let mut words = Words::default();
    for kind in ["assistant.message", "assistant.reasoning"] {
        let line = format!(r#"{{"type":"{kind}","data":{{"content":"said"}}}}"#);
        assert_eq!(
            words.line(line.as_bytes()).map(|updates| updates.len()),
            Some(1),
            "{kind}"
        );
    }
}
