//! droid's streams as recorded from 0.215.0.

use super::super::super::tests::final_event;
use super::super::tests::{count_over_the_session, has_a_session_and_no_end};
use super::super::transcript::transcript;
use super::*;

pub(crate) const TOOL: &str = include_str!("../../../../tests/agents/recorded/droid-tool.ndjson");
const PLAIN: &str = include_str!("../../../../tests/agents/recorded/droid-plain.ndjson");
const TOOL_FAILS: &str = include_str!("../../../../tests/agents/recorded/droid-tool-fails.ndjson");
const THINK: &str = include_str!("../../../../tests/agents/recorded/droid-think.ndjson");
const FOLLOW_UP: &str = include_str!("../../../../tests/agents/recorded/droid-follow-up.ndjson");
const INTERRUPT: &str = include_str!("../../../../tests/agents/recorded/droid-interrupt.ndjson");
const BAD_REQUEST: &str = include_str!("../../../../tests/agents/recorded/droid-400.ndjson");
const NO_KEY: &str = include_str!("../../../../tests/agents/recorded/droid-401.ndjson");

#[test]
fn a_completion_ends_the_turn_with_its_answer_and_counts_over_the_session() {
    count_over_the_session("droid", PLAIN, FOLLOW_UP);
}

#[test]
fn an_error_of_the_model_is_the_reason_and_not_that_droid_failed() {
    for (stream, cause, error) in [
        (BAD_REQUEST, Cause::AgentError, "400 scripted failure"),
        (NO_KEY, Cause::Auth, "401 scripted failure"),
    ] {
        let event = final_event("droid", stream);
        assert_eq!((event.outcome, event.error.as_deref()), (Err(cause), Some(error)));
    }
}

#[test]
fn an_interrupted_turn_has_a_session_and_no_end() {
    has_a_session_and_no_end("droid", INTERRUPT);
}

#[test]
fn a_turn_is_told_in_acps_words() {
    assert_eq!(
        transcript("droid", TOOL),
        [
            "raw system",
            r#"tool_call call_3 in_progress execute printf made > made.txt """#,
            r#"tool_call_update call_3 completed "Command completed successfully\n\n[Process exited with code 0]""#,
            r#"message "Answer 1.""#,
            r#"usage {"input_tokens":220,"output_tokens":14,"cached_tokens":60}"#,
        ]
    );
    assert_eq!(
        transcript("droid", TOOL_FAILS)[2],
        r#"tool_call_update call_3 failed "Error: Command failed (exit code: 1)\n\n[Process exited with code 1]""#
    );
    // It comes twice, and is told once.
    assert_eq!(
        transcript("droid", THINK)[1..3],
        [r#"thought "Hmm, let me see.""#, r#"message "Answer 1.""#]
    );
    assert_eq!(transcript("droid", BAD_REQUEST), ["raw system", "raw error"]);
}
