//! pi's streams as recorded from 0.73.1.

use super::transcript::transcript;
use crate::tests::{final_event, observe, recorded};
use promptd_model::{Cause, Usage};

const TOOL: &str = recorded!("pi-tool");
const PLAIN: &str = recorded!("pi-plain");
const TOOL_FAILS: &str = recorded!("pi-tool-fails");
const THINK: &str = recorded!("pi-think");
const FOLLOW_UP: &str = recorded!("pi-follow-up");
const INTERRUPT: &str = recorded!("pi-interrupt");
const BAD_REQUEST: &str = recorded!("pi-400");
const NO_KEY: &str = recorded!("pi-401");
const TOO_MANY: &str = recorded!("pi-429");

#[test]
fn usage_is_the_sum_of_all_answers() {
    let seen = observe("pi", PLAIN);
    assert!(seen.agent_session_id.is_some());
    assert_eq!(observe("pi", FOLLOW_UP).agent_session_id, seen.agent_session_id);
    let event = seen.final_event.unwrap();
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
    let event = final_event("pi", TOOL);
    let usage = Usage {
        input_tokens: Some(220),
        output_tokens: Some(14),
        cached_tokens: Some(60),
        cost_usd: None,
    };
    assert_eq!((event.result.as_deref(), event.usage), (Some("Answer 1."), usage));
}

#[test]
fn a_refused_request_fails_despite_exit_code_0() {
    for (stream, cause, error) in [
        (BAD_REQUEST, Cause::AgentError, "400 scripted failure"),
        (NO_KEY, Cause::Auth, "401 scripted failure"),
        (TOO_MANY, Cause::Quota, "429 scripted failure"),
    ] {
        let event = final_event("pi", stream);
        assert_eq!((event.outcome, event.error.as_deref()), (Err(cause), Some(error)));
    }
}

#[test]
fn a_retry_follows_an_end() {
    let tried_again = format!("{TOO_MANY}{}", r#"{"type":"auto_retry_start","attempt":1}"#);
    assert_eq!(observe("pi", &tried_again).final_event, None);
}

#[test]
fn an_interrupt_before_the_first_answer_leaves_no_session() {
    let seen = observe("pi", INTERRUPT);
    assert!(seen.agent_session_id.is_none() && seen.final_event.is_none());
}

#[test]
fn output_becomes_acp_updates() {
    assert_eq!(
        transcript("pi", TOOL),
        [
            "raw session",
            "raw agent_start",
            "raw turn_start",
            r#"usage {"input_tokens":110,"output_tokens":7,"cached_tokens":30}"#,
            r#"tool_call call_2 in_progress execute printf made > made.txt """#,
            r#"tool_call_update call_2 in_progress """#,
            r#"tool_call_update call_2 completed "(no output)""#,
            "raw turn_start",
            r#"message "Answer ""#,
            r#"message "1""#,
            r#"message ".""#,
            r#"usage {"input_tokens":220,"output_tokens":14,"cached_tokens":60}"#,
        ]
    );
    let failed = r#"tool_call_update call_2 failed "(no output)\n\nCommand exited with code 1""#;
    assert!(transcript("pi", TOOL_FAILS).contains(&failed.to_owned()));
    assert_eq!(
        transcript("pi", THINK)[3..6],
        [r#"thought "Hmm""#, r#"thought ", let me see.""#, r#"message "Answer ""#]
    );
    assert!(transcript("pi", BAD_REQUEST).contains(&"raw message_end".to_owned()));
}
