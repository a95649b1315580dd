//! Claude's launches, and its streams as recorded from 2.1.329.

use super::{final_event, launch, observe, plain, recorded, vars};
use crate::TurnRequest;
use crate::launch::command::{Launch, Stdin};
use promptd_model::{Cause, Observation, PermissionMode, Reset, StopReason, Usage};

const TOOL: &str = recorded!("claude-tool");
const PLAIN: &str = recorded!("claude-plain");
const FOLLOW_UP: &str = recorded!("claude-follow-up");
const BAD_REQUEST: &str = recorded!("claude-400");
const OVERLOADED: &str = recorded!("claude-529");
const INTERRUPT: &str = recorded!("claude-interrupt");
const MAX_TURNS: &str = recorded!("claude-max-turns");

const ALWAYS: &str = "-p --output-format stream-json --verbose --include-partial-messages";

#[test]
fn a_first_turn_has_our_session_id() {
    let (line, launch) = launch("claude", &plain());
    let id = plain().agent_session_id.unwrap();
    assert_eq!(
        line,
        format!("{ALWAYS} --dangerously-skip-permissions --session-id {id}")
    );
    assert_eq!(
        launch.env,
        vars([
            ("DISABLE_AUTOUPDATER", "1"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        ])
    );
    assert_eq!(launch.stdin, Stdin::Prompt);
    assert!(launch.files.is_empty());
}

#[test]
fn a_follow_up_turn_resumes() {
    let args = ["--effort".to_owned(), "high".to_owned()];
    let (line, launch) = launch(
        "claude",
        &TurnRequest {
            first_turn: false,
            agent_session_id: Some("abc"),
            model: Some("opus"),
            max_turns: Some(7),
            system_prompt: Some("Be brief."),
            args: &args,
            ..plain()
        },
    );
    let options = "--model opus --max-turns 7 --system-prompt-file /s/system-prompt.md --effort high";
    assert_eq!(
        line,
        format!("{ALWAYS} --dangerously-skip-permissions --resume abc {options}")
    );
    assert_eq!(launch.files, [("system-prompt.md", "Be brief.".to_owned())]);
}

#[test]
fn root_declares_a_sandbox_only_to_skip_permissions() {
    let declares = |launch: &Launch| launch.env.contains(&("IS_SANDBOX".to_owned(), "1".to_owned()));
    assert!(declares(&launch("claude", &TurnRequest { root: true, ..plain() }).1));

    let tools = ["Read".to_owned(), "Bash(git *)".to_owned()];
    let (line, limited) = launch(
        "claude",
        &TurnRequest {
            root: true,
            allowed_tools: &tools,
            agent_session_id: None,
            ..plain()
        },
    );
    assert_eq!(
        line,
        format!("{ALWAYS} --allowedTools Read Bash(git *) --permission-mode dontAsk")
    );
    assert!(!declares(&limited));
}

#[test]
fn a_follow_up_turn_has_its_own_cost() {
    assert!(FOLLOW_UP.contains(r#""total_cost_usd":0.000932"#));
    let event = final_event("claude", FOLLOW_UP);
    assert_eq!(event.result.as_deref(), Some("Answer 2."));
    assert_eq!(event.usage.cost_usd, Some(0.000_466));
}

#[test]
fn usage_is_the_sum_of_all_model_requests() {
    let event = final_event("claude", TOOL);
    assert_eq!(event.usage.input_tokens, Some(220));
    assert_eq!(event.usage.output_tokens, Some(14));
}

#[test]
fn the_last_result_counts_with_the_sum_of_usage() {
    let event = final_event("claude", &format!("{BAD_REQUEST}{PLAIN}{TOOL}"));
    assert_eq!(event.outcome, Ok(()));
    assert_eq!(event.usage.input_tokens, Some(330));
    let event = final_event("claude", &format!("{PLAIN}{BAD_REQUEST}"));
    assert_eq!(event.outcome, Err(Cause::AgentError));
}

#[test]
fn a_refused_request_is_a_failure_despite_its_subtype() {
    assert!(BAD_REQUEST.contains(r#""subtype":"success""#));
    let event = final_event("claude", BAD_REQUEST);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.error.as_deref(), Some("API Error: 400 scripted failure"));
    assert_eq!(event.result, None);
    assert_eq!(event.stop_reason, None);
}

#[test]
fn an_interrupted_turn_is_cancelled_and_has_usage() {
    let event = final_event("claude", INTERRUPT);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::Cancelled));
    assert_eq!(event.usage.input_tokens, Some(110));
}

#[test]
fn reaching_max_turns_is_a_failure_with_a_stop_reason() {
    let event = final_event("claude", MAX_TURNS);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::MaxTurnRequests));
    assert_eq!(event.error.as_deref(), Some("Reached maximum number of turns (1)"));
}

#[test]
fn a_retry_is_the_likely_failure_until_an_answer() {
    let retrying: String = OVERLOADED.split_inclusive('\n').take(3).collect();
    assert_eq!(
        observe("claude", &retrying).failure.map(|(cause, _)| cause),
        Some(Cause::Overloaded)
    );
    assert_eq!(observe("claude", &format!("{retrying}{PLAIN}")).failure, None);
}

#[test]
fn unknown_details_do_not_lose_the_final_event() {
    let event = final_event(
        "claude",
        r#"{"type":"result","is_error":false,"result":"done","errors":[{"new":1}],"model_usage_since_last_result":3}"#,
    );
    assert_eq!((event.outcome, event.usage), (Ok(()), Usage::default()));
}

#[test]
fn a_turn_that_asks_skips_no_permission() {
    let request = TurnRequest {
        permission: PermissionMode::Ask,
        model: Some("m"),
        ..plain()
    };
    let (line, launch) = launch("claude", &request);
    assert_eq!(launch.stdin, Stdin::Dialog);
    let asks = "--input-format stream-json --permission-prompt-tool stdio --permission-mode default";
    assert!(line.contains(asks), "{line}");
    assert!(!line.contains("dangerously"), "{line}");
    assert!(line.contains("--session-id"), "{line}");
}

const SUCCESS: &str = r#"{"type":"result","subtype":"success","is_error":null,"num_turns":2,"result":"Done."}"#;

/// What is known after these lines.
fn after(lines: &[&str]) -> Observation {
    observe("claude", &lines.join("\n"))
}

#[test]
fn a_result_about_nothing_does_not_replace_the_answer() {
    let about_nothing = [
        r#"{"type":"result","subtype":"error_during_execution","is_error":true,"num_turns":0,"errors":["aborted"]}"#,
        r#"{"type":"result","subtype":"success","is_error":false,"num_turns":0,"result":""}"#,
    ];
    for nothing in about_nothing {
        let event = after(&[SUCCESS, nothing]).final_event.unwrap();
        assert_eq!(
            (event.outcome, event.result.as_deref()),
            (Ok(()), Some("Done.")),
            "{nothing}"
        );
        // Alone it is the end.
        assert!(after(&[nothing]).final_event.is_some());
    }
    // Claude writes such lines by itself, too.
    let idle = r#"{"type":"system","subtype":"status","status":null}"#;
    let hook = r#"{"type":"user","message":{"role":"user","content":[{"type":"text","text":"hook"}]}}"#;
    let event = after(&[SUCCESS, idle, hook, about_nothing[0]]).final_event.unwrap();
    assert_eq!(event.outcome, Ok(()));
    // A request to the model came in between.
    let work = r#"{"type":"system","subtype":"init","session_id":"s"}"#;
    let event = after(&[SUCCESS, work, about_nothing[0]]).final_event.unwrap();
    assert_eq!(event.outcome, Err(Cause::AgentError));
}

#[test]
fn a_result_while_work_goes_on_is_no_end() {
    let requested = SUCCESS.replace("null", r#"false,"terminal_reason":"background_requested""#);
    assert!(after(&[&requested]).busy);
    assert!(!after(&[&requested, SUCCESS]).busy);
    let progress = r#"{"type":"system","subtype":"task_progress","task_id":"t"}"#;
    let ended = r#"{"type":"system","subtype":"task_notification","task_id":"t","status":"completed"}"#;
    assert!(after(&[progress, SUCCESS]).busy);
    assert!(after(&[SUCCESS, progress]).busy);
    assert!(!after(&[progress, SUCCESS, ended]).busy);
    assert!(!after(&[progress, ended, progress, SUCCESS]).busy);
    // An answer waited for this task.
    let awaited = r#"{"type":"system","subtype":"task_started","task_id":"t","is_backgrounded":false}"#;
    assert!(!after(&[awaited, progress, SUCCESS]).busy);
    assert!(after(&[awaited, progress, SUCCESS, progress]).busy);
}

#[test]
fn members_of_another_shape_do_not_cost_the_result() {
    for (member, other) in [
        (r#""subtype":"success""#, r#""subtype":7"#),
        (r#""is_error":null"#, r#""is_error":[]"#),
        (
            r#""num_turns":2"#,
            r#""num_turns":"two","usage":3,"api_error_status":"x","stop_reason":{},"errors":1"#,
        ),
    ] {
        let event = after(&[&SUCCESS.replace(member, other)]).final_event.unwrap();
        assert_eq!(
            (event.outcome, event.result.as_deref()),
            (Ok(()), Some("Done.")),
            "{other}"
        );
    }
}

#[test]
fn the_cause_is_claudes_own_name_for_the_error() {
    let failed = |code: &str, text: &str| {
        let message = format!(r#"{{"type":"assistant","error":"{code}","message":{{"content":[]}}}}"#);
        let result = format!(r#"{{"type":"result","subtype":"success","is_error":true,"result":"{text}"}}"#);
        after(&[&message, &result]).final_event.unwrap().outcome
    };
    assert_eq!(failed("rate_limit", "no words that say so"), Err(Cause::Quota));
    assert_eq!(failed("authentication_failed", "your quota"), Err(Cause::Auth));
    assert_eq!(failed("unknown", "Connection error."), Err(Cause::Network));
}

#[test]
fn a_rejecting_rate_limit_has_its_reset() {
    let event = |status: &str| {
        let info = format!(r#"{{"status":"{status}","resetsAt":1795000000,"rateLimitType":"five_hour"}}"#);
        format!(r#"{{"type":"rate_limit_event","rate_limit_info":{info}}}"#)
    };
    let moment = jiff::Timestamp::from_second(1_795_000_000).unwrap();
    assert_eq!(after(&[&event("rejected")]).reset, Some(Reset::At(moment)));
    assert_eq!(after(&[&event("allowed_warning")]).reset, None);
}
