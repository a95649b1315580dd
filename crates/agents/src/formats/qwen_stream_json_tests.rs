//! Qwen's streams as recorded from 0.24.4.

use super::super::super::tests::final_event;
use super::super::tests::{count_over_the_session, has_a_session_and_no_end};
use super::*;
use promptd_model::Cause;

pub(crate) const TOOL: &str = include_str!("../../../../tests/agents/recorded/qwen-tool.ndjson");
const PLAIN: &str = include_str!("../../../../tests/agents/recorded/qwen-plain.ndjson");
const FOLLOW_UP: &str = include_str!("../../../../tests/agents/recorded/qwen-follow-up.ndjson");
const INTERRUPT: &str = include_str!("../../../../tests/agents/recorded/qwen-interrupt.ndjson");
const BAD_REQUEST: &str = include_str!("../../../../tests/agents/recorded/qwen-400.ndjson");
const NO_KEY: &str = include_str!("../../../../tests/agents/recorded/qwen-401.ndjson");
const TOO_MANY: &str = include_str!("../../../../tests/agents/recorded/qwen-429.ndjson");

#[test]
fn a_result_ends_the_turn_and_counts_over_the_session() {
    count_over_the_session("qwen", PLAIN, FOLLOW_UP);
}

#[test]
fn what_the_model_refused_tells_its_cause() {
    for (stream, cause) in [
        (BAD_REQUEST, Cause::AgentError),
        (NO_KEY, Cause::Auth),
        (TOO_MANY, Cause::Quota),
    ] {
        let event = final_event("qwen", stream);
        assert_eq!(event.outcome, Err(cause));
        assert!(event.error.unwrap().contains("scripted failure"));
    }
}

#[test]
fn an_interrupted_turn_has_a_session_and_no_end() {
    has_a_session_and_no_end("qwen", INTERRUPT);
}

#[test]
fn a_session_that_does_not_exist_is_told_on_stderr() {
    let mut reader = Reader::default();
    reader.line(
        Stream::Stderr,
        b"No saved session found with ID 0198d0b4-0000-4000-8000-0000000000ff.",
    );
    assert_eq!(reader.observation().final_event, None);
    assert_eq!(reader.observation().agent_session_id, None);
}

#[test]
fn reaching_max_turns_is_told_on_stderr_and_a_failure_with_its_own_stop_reason() {
    let mut reader = Reader::default();
    reader.line(
        Stream::Stderr,
        b"Reached max session turns for this session. Increase the number of turns by specifying maxSessionTurns in settings.json.",
    );
    let event = reader.observation().final_event.clone().unwrap();
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::MaxTurnRequests));
    assert!(event.error.unwrap().starts_with("Reached max session turns"));
}
