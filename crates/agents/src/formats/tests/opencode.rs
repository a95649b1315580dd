//! opencode's streams as recorded from 1.18.33.

use super::transcript::transcript;
use crate::tests::{final_event, observe, recorded};
use promptd_model::{Cause, StopReason, Usage};

const TOOL: &str = recorded!("opencode-tool");
const PLAIN: &str = recorded!("opencode-plain");
const THINK: &str = recorded!("opencode-think");
const FOLLOW_UP: &str = recorded!("opencode-follow-up");
const INTERRUPT: &str = recorded!("opencode-interrupt");
const BAD_REQUEST: &str = recorded!("opencode-400");
const NO_KEY: &str = recorded!("opencode-401");
const TOO_MANY: &str = recorded!("opencode-429");

fn usage(times: u64) -> Usage {
    Usage {
        input_tokens: Some(110 * times),
        output_tokens: Some(7 * times),
        cached_tokens: Some(30 * times),
        cost_usd: None,
    }
}

#[test]
fn usage_is_the_sum_of_all_steps() {
    let event = final_event("opencode", PLAIN);
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    assert_eq!(event.usage, usage(1));
    let event = final_event("opencode", TOOL);
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    assert_eq!((event.stop_reason, event.usage), (Some(StopReason::EndTurn), usage(2)));
}

#[test]
fn a_turn_that_stops_after_a_tool_has_no_final_event() {
    let without_the_answer: String = TOOL.split_inclusive('\n').take(4).collect();
    assert_eq!(observe("opencode", &without_the_answer).final_event, None);
}

#[test]
fn every_line_names_the_session() {
    let first = observe("opencode", PLAIN).agent_session_id.unwrap();
    assert!(first.starts_with("ses_"), "{first}");
    assert_eq!(observe("opencode", FOLLOW_UP).agent_session_id, Some(first));
    let interrupted = observe("opencode", INTERRUPT);
    assert!(interrupted.agent_session_id.is_some() && interrupted.final_event.is_none());
}

#[test]
fn a_refused_request_has_a_cause() {
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
fn output_becomes_acp_updates() {
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
fn a_missing_key_is_known_by_the_name_of_the_error() {
    let line =
        r#"{"type":"error","error":{"name":"ProviderAuthError","data":{"providerID":"x","message":"log in first"}}}"#;
    assert_eq!(final_event("opencode", line).outcome, Err(Cause::Auth));
}
