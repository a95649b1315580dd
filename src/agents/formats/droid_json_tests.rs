//! droid's streams as recorded from 0.215.0.

use super::super::super::tests::{final_event, observe};
use super::super::transcript::transcript;
use super::*;

pub(in crate::agents) const TOOL: &str = include_str!("../../../tests/agents/recorded/droid-tool.ndjson");
const PLAIN: &str = include_str!("../../../tests/agents/recorded/droid-plain.ndjson");
const TOOL_FAILS: &str = include_str!("../../../tests/agents/recorded/droid-tool-fails.ndjson");
const THINK: &str = include_str!("../../../tests/agents/recorded/droid-think.ndjson");
const FOLLOW_UP: &str = include_str!("../../../tests/agents/recorded/droid-follow-up.ndjson");
const INTERRUPT: &str = include_str!("../../../tests/agents/recorded/droid-interrupt.ndjson");
const BAD_REQUEST: &str = include_str!("../../../tests/agents/recorded/droid-400.ndjson");
const NO_KEY: &str = include_str!("../../../tests/agents/recorded/droid-401.ndjson");

#[test]
fn a_completion_ends_the_turn_with_its_answer_and_counts_over_the_session() {
    let seen = observe("droid", PLAIN);
    let event = seen.final_event.unwrap();
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    let first = Usage {
        input_tokens: Some(110),
        output_tokens: Some(7),
        cached_tokens: Some(30),
        cost_usd: None,
    };
    assert_eq!(event.usage, first);
    let next = observe("droid", FOLLOW_UP);
    assert_eq!(next.agent_session_id, seen.agent_session_id);
    assert!(DROID_JSON.usage_is_cumulative);
    assert_eq!(next.final_event.unwrap().usage.since(first), first);
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
    let seen = observe("droid", INTERRUPT);
    assert!(seen.agent_session_id.is_some() && seen.final_event.is_none());
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
