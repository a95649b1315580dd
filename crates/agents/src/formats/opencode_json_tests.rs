//! opencode's streams as recorded from 1.18.33.

use super::super::super::tests::{final_event, observe};
use super::super::transcript::transcript;
use super::*;
use promptd_model::Cause;

pub(crate) const TOOL: &str = include_str!("../../../../tests/agents/recorded/opencode-tool.ndjson");
const PLAIN: &str = include_str!("../../../../tests/agents/recorded/opencode-plain.ndjson");
const THINK: &str = include_str!("../../../../tests/agents/recorded/opencode-think.ndjson");
const FOLLOW_UP: &str = include_str!("../../../../tests/agents/recorded/opencode-follow-up.ndjson");
const INTERRUPT: &str = include_str!("../../../../tests/agents/recorded/opencode-interrupt.ndjson");
const BAD_REQUEST: &str = include_str!("../../../../tests/agents/recorded/opencode-400.ndjson");
const NO_KEY: &str = include_str!("../../../../tests/agents/recorded/opencode-401.ndjson");
const TOO_MANY: &str = include_str!("../../../../tests/agents/recorded/opencode-429.ndjson");

fn took(times: u64) -> Usage {
    Usage {
        input_tokens: Some(110 * times),
        output_tokens: Some(7 * times),
        cached_tokens: Some(30 * times),
        cost_usd: None,
    }
}

#[test]
fn the_last_step_ends_the_turn_and_its_steps_are_summed_up() {
    let event = final_event("opencode", PLAIN);
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    assert_eq!(event.usage, took(1));
    let event = final_event("opencode", TOOL);
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    assert_eq!((event.stop_reason, event.usage), (Some(StopReason::EndTurn), took(2)));
}

#[test]
fn a_turn_that_stops_behind_a_tool_has_no_end() {
    let without_the_answer: String = TOOL.split_inclusive('\n').take(4).collect();
    assert_eq!(observe("opencode", &without_the_answer).final_event, None);
}

#[test]
fn the_session_is_the_one_that_every_line_names() {
    let first = observe("opencode", PLAIN).agent_session_id.unwrap();
    assert!(first.starts_with("ses_"), "{first}");
    assert_eq!(observe("opencode", FOLLOW_UP).agent_session_id, Some(first));
    let interrupted = observe("opencode", INTERRUPT);
    assert!(interrupted.agent_session_id.is_some() && interrupted.final_event.is_none());
}

#[test]
fn what_the_model_refused_tells_its_cause() {
    for (stream, cause) in [
        (BAD_REQUEST, Cause::AgentError),
        (NO_KEY, Cause::Auth),
        (TOO_MANY, Cause::Quota),
    ] {
        let event = final_event("opencode", stream);
        assert_eq!(
            (event.outcome, event.error.as_deref()),
            (Err(cause), Some("scripted failure"))
        );
    }
}

#[test]
fn a_turn_is_told_in_acps_words() {
    assert_eq!(
        transcript("opencode", TOOL),
        [
            "raw step_start",
            r#"tool_call call_2 completed execute printf made > made.txt "(no output)""#,
            r#"usage {"input_tokens":110,"output_tokens":7,"cached_tokens":30}"#,
            "raw step_start",
            r#"message "Answer 1.""#,
            r#"usage {"input_tokens":220,"output_tokens":14,"cached_tokens":60}"#,
        ]
    );
    assert_eq!(transcript("opencode", THINK)[1], r#"thought "Hmm, let me see.""#);
    assert_eq!(transcript("opencode", BAD_REQUEST), ["raw error"]);
}

#[test]
fn a_missing_key_is_told_by_the_errors_name() {
    let line =
        r#"{"type":"error","error":{"name":"ProviderAuthError","data":{"providerID":"x","message":"log in first"}}}"#;
    assert_eq!(final_event("opencode", line).outcome, Err(Cause::Auth));
}
