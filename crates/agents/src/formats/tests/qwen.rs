//! Qwen's streams as recorded from 0.24.4.

use super::{assert_cumulative_usage, assert_resumable};
use crate::formats::qwen_stream_json::QWEN_STREAM_JSON;
use crate::tests::{final_event, recorded};
use promptd_model::{Cause, StopReason, Stream};

const PLAIN: &str = recorded!("qwen-plain");
const FOLLOW_UP: &str = recorded!("qwen-follow-up");
const INTERRUPT: &str = recorded!("qwen-interrupt");
const BAD_REQUEST: &str = recorded!("qwen-400");
const NO_KEY: &str = recorded!("qwen-401");
const TOO_MANY: &str = recorded!("qwen-429");

#[test]
fn usage_is_a_sum_over_the_session() {
    assert_cumulative_usage("qwen", PLAIN, FOLLOW_UP);
}

#[test]
fn a_refused_request_has_a_cause() {
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
fn an_interrupted_turn_can_be_resumed() {
    assert_resumable("qwen", INTERRUPT);
}

#[test]
fn an_unknown_session_is_no_final_event() {
    let mut observer = QWEN_STREAM_JSON.observer.unwrap()();
    observer.observe_line(
        Stream::Stderr,
        b"No saved session found with ID 0198d0b4-0000-4000-8000-0000000000ff.",
    );
    assert_eq!(observer.observation().final_event, None);
    assert_eq!(observer.observation().agent_session_id, None);
}

#[test]
fn reaching_max_turns_is_a_failure_with_a_stop_reason() {
    let mut observer = QWEN_STREAM_JSON.observer.unwrap()();
    observer.observe_line(
        Stream::Stderr,
        b"Reached max session turns for this session. Increase the number of turns by specifying maxSessionTurns in settings.json.",
    );
    let event = observer.observation().final_event.clone().unwrap();
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::MaxTurnRequests));
    assert!(event.error.unwrap().starts_with("Reached max session turns"));
}
