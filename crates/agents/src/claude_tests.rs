//! Claude's launches, and its streams as recorded from 2.1.329.

use super::super::tests::{final_event, launch, observe, plain};
use super::*;
use promptd_model::{Cause, PermissionMode, StopReason, Usage};

pub(in super::super) const TOOL: &str = include_str!("../../../tests/agents/recorded/claude-tool.ndjson");
const PLAIN: &str = include_str!("../../../tests/agents/recorded/claude-plain.ndjson");
const FOLLOW_UP: &str = include_str!("../../../tests/agents/recorded/claude-follow-up.ndjson");
const BAD_REQUEST: &str = include_str!("../../../tests/agents/recorded/claude-400.ndjson");
const OVERLOADED: &str = include_str!("../../../tests/agents/recorded/claude-529.ndjson");
const INTERRUPT: &str = include_str!("../../../tests/agents/recorded/claude-interrupt.ndjson");
const MAX_TURNS: &str = include_str!("../../../tests/agents/recorded/claude-max-turns.ndjson");
const NO_KEY: &str = include_str!("../../../tests/agents/recorded/claude-no-key.ndjson");

const ALWAYS: &str = "-p --output-format stream-json --verbose --include-partial-messages";

#[test]
fn a_first_turn_starts_with_the_id_we_chose_and_without_permission_checks() {
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
fn a_follow_up_turn_resumes_with_all_options_and_the_callers_arguments_last() {
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
fn root_declares_a_sandbox_only_where_permissions_are_skipped() {
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
fn a_plain_turn_ends_with_its_answer_and_what_it_took() {
    let seen = observe("claude", PLAIN);
    assert!(seen.agent_session_id.is_some());
    let event = seen.final_event.unwrap();
    assert_eq!(event.outcome, Ok(()));
    assert_eq!(event.stop_reason, Some(StopReason::EndTurn));
    assert_eq!(event.result.as_deref(), Some("Answer 1."));
    let usage = Usage {
        input_tokens: Some(110),
        output_tokens: Some(7),
        cached_tokens: Some(30),
        cost_usd: Some(0.000_466),
    };
    assert_eq!(event.usage, usage);
}

#[test]
fn a_resumed_turn_reports_its_own_cost_though_the_total_counts_on() {
    assert!(FOLLOW_UP.contains(r#""total_cost_usd":0.000932"#));
    let event = final_event("claude", FOLLOW_UP);
    assert_eq!(event.result.as_deref(), Some("Answer 2."));
    assert_eq!(event.usage.cost_usd, Some(0.000_466));
}

#[test]
fn a_turn_with_a_tool_sums_both_model_calls() {
    let event = final_event("claude", TOOL);
    assert_eq!(event.usage.input_tokens, Some(220));
    assert_eq!(event.usage.output_tokens, Some(14));
}

#[test]
fn of_several_results_the_last_one_counts_and_the_usage_is_their_sum() {
    let event = final_event("claude", &format!("{BAD_REQUEST}{PLAIN}{TOOL}"));
    assert_eq!(event.outcome, Ok(()));
    assert_eq!(event.usage.input_tokens, Some(330));
    let event = final_event("claude", &format!("{PLAIN}{BAD_REQUEST}"));
    assert_eq!(event.outcome, Err(Cause::AgentError));
}

#[test]
fn a_refused_request_is_a_failure_though_its_subtype_says_success() {
    assert!(BAD_REQUEST.contains(r#""subtype":"success""#));
    let event = final_event("claude", BAD_REQUEST);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.error.as_deref(), Some("API Error: 400 scripted failure"));
    assert_eq!(event.result, None);
    assert_eq!(event.stop_reason, None);
}

#[test]
fn the_cause_of_a_failure_is_told_by_status_or_words() {
    assert_eq!(final_event("claude", OVERLOADED).outcome, Err(Cause::Overloaded));
    assert_eq!(final_event("claude", NO_KEY).outcome, Err(Cause::Auth));
}

#[test]
fn an_interrupted_turn_says_so_and_what_it_took() {
    let event = final_event("claude", INTERRUPT);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::Cancelled));
    assert_eq!(event.usage.input_tokens, Some(110));
}

#[test]
fn reaching_max_turns_is_a_failure_with_its_own_stop_reason() {
    let event = final_event("claude", MAX_TURNS);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::MaxTurnRequests));
    assert_eq!(event.error.as_deref(), Some("Reached maximum number of turns (1)"));
}

#[test]
fn a_retry_is_remembered_as_the_likely_failure_until_the_model_answers() {
    let retrying: String = OVERLOADED.split_inclusive('\n').take(3).collect();
    assert_eq!(
        observe("claude", &retrying).failure.map(|(cause, _)| cause),
        Some(Cause::Overloaded)
    );
    assert_eq!(observe("claude", &format!("{retrying}{PLAIN}")).failure, None);
}

#[test]
fn details_of_an_unknown_shape_do_not_cost_the_final_event() {
    let event = final_event(
        "claude",
        r#"{"type":"result","is_error":false,"result":"done","errors":[{"new":1}],"model_usage_since_last_result":3}"#,
    );
    assert_eq!((event.outcome, event.usage), (Ok(()), Usage::default()));
}

#[test]
fn a_turn_that_asks_is_told_so_and_skips_nothing() {
    let request = TurnRequest {
        permission: PermissionMode::Ask,
        model: Some("m"),
        ..plain()
    };
    let (line, launch) = launch("claude", &request);
    assert_eq!(launch.stdin, Stdin::Conversation);
    let asks = "--input-format stream-json --permission-prompt-tool stdio --permission-mode default";
    assert!(line.contains(asks), "{line}");
    assert!(!line.contains("dangerously"), "{line}");
    assert!(line.contains("--session-id"), "{line}");
}
