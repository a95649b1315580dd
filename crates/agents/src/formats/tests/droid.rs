//! droid's streams as recorded from 0.215.0.

use super::transcript::transcript;
use super::{assert_cumulative_usage, assert_resumable};
use crate::tests::{final_event, recorded};
use promptd_model::Cause;

const TOOL: &str = recorded!("droid-tool");
const PLAIN: &str = recorded!("droid-plain");
const TOOL_FAILS: &str = recorded!("droid-tool-fails");
const THINK: &str = recorded!("droid-think");
const FOLLOW_UP: &str = recorded!("droid-follow-up");
const INTERRUPT: &str = recorded!("droid-interrupt");
const BAD_REQUEST: &str = recorded!("droid-400");
const NO_KEY: &str = recorded!("droid-401");

#[test]
fn usage_is_a_sum_over_the_session() {
    assert_cumulative_usage("droid", PLAIN, FOLLOW_UP);
}

#[test]
fn the_error_of_the_model_is_the_reason() {
    for (stream, cause, error) in [
        (BAD_REQUEST, Cause::AgentError, "400 scripted failure"),
        (NO_KEY, Cause::Auth, "401 scripted failure"),
    ] {
        let event = final_event("droid", stream);
        assert_eq!((event.outcome, event.error.as_deref()), (Err(cause), Some(error)));
    }
}

#[test]
fn an_interrupted_turn_can_be_resumed() {
    assert_resumable("droid", INTERRUPT);
}

#[test]
fn output_becomes_acp_updates() {
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
    // The thought comes twice and gives one update.
    assert_eq!(
        transcript("droid", THINK)[1..3],
        [r#"thought "Hmm, let me see.""#, r#"message "Answer 1.""#]
    );
    assert_eq!(transcript("droid", BAD_REQUEST), ["raw system", "raw error"]);
}
