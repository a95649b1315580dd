//! pi's streams as recorded from 0.73.1.

use super::super::super::tests::{final_event, observe};
use super::super::transcript::transcript;
use super::*;
use promptd_model::Cause;

pub(crate) const TOOL: &str = include_str!("../../../../tests/agents/recorded/pi-tool.ndjson");
const PLAIN: &str = include_str!("../../../../tests/agents/recorded/pi-plain.ndjson");
const TOOL_FAILS: &str = include_str!("../../../../tests/agents/recorded/pi-tool-fails.ndjson");
const THINK: &str = include_str!("../../../../tests/agents/recorded/pi-think.ndjson");
const FOLLOW_UP: &str = include_str!("../../../../tests/agents/recorded/pi-follow-up.ndjson");
const INTERRUPT: &str = include_str!("../../../../tests/agents/recorded/pi-interrupt.ndjson");
const BAD_REQUEST: &str = include_str!("../../../../tests/agents/recorded/pi-400.ndjson");
const NO_KEY: &str = include_str!("../../../../tests/agents/recorded/pi-401.ndjson");
const TOO_MANY: &str = include_str!("../../../../tests/agents/recorded/pi-429.ndjson");

#[test]
fn the_end_of_the_agent_ends_the_turn_and_its_answers_are_summed_up() {
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
fn what_the_model_refused_fails_although_pi_exits_with_0() {
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
fn an_end_before_another_try_is_none() {
    let tried_again = format!("{TOO_MANY}{}", r#"{"type":"auto_retry_start","attempt":1}"#);
    assert_eq!(observe("pi", &tried_again).final_event, None);
}

#[test]
fn a_turn_that_was_interrupted_before_an_answer_has_neither_a_session_nor_an_end() {
    let seen = observe("pi", INTERRUPT);
    assert!(seen.agent_session_id.is_none() && seen.final_event.is_none());
}

#[test]
fn a_turn_is_told_in_acps_words() {
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
