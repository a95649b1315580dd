//! Gemini's launches, and its streams as recorded from 0.61.0.

use serde_json::{Value, json};

use super::{agent, final_event, launch, observe, plain, recorded, vars};
use crate::TurnRequest;
use promptd_model::{Cause, StopReason, Stream, Usage};

const TOOL: &str = recorded!("gemini-tool");
const BAD_REQUEST: &str = recorded!("gemini-400");
const UNAUTHORIZED: &str = recorded!("gemini-401");

#[test]
fn a_first_turn_has_our_session_id() {
    let (line, launch) = launch("gemini", &plain());
    assert_eq!(
        line,
        format!("-o stream-json -y --session-id {}", plain().agent_session_id.unwrap())
    );
    let env = vars([
        ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
        ("GEMINI_CLI_NO_RELAUNCH", "true"),
        ("GEMINI_CLI_SYSTEM_DEFAULTS_PATH", "/s/gemini-defaults.json"),
    ]);
    assert_eq!(launch.env, env);
    let [(name, text)] = launch.files.as_slice() else {
        panic!("one file")
    };
    assert_eq!(*name, "gemini-defaults.json");
    let settings: Value = serde_json::from_str(text).unwrap();
    assert_eq!(settings["privacy"]["usageStatisticsEnabled"], false);
}

#[test]
fn a_follow_up_turn_resumes() {
    let request = TurnRequest {
        first_turn: false,
        agent_session_id: Some("abc"),
        model: Some("gemini-2.5-pro"),
        system_prompt: Some("Be brief."),
        ..plain()
    };
    let (line, launch) = launch("gemini", &request);
    assert_eq!(line, "-o stream-json -y --resume abc -m gemini-2.5-pro");
    assert!(
        launch
            .env
            .contains(&("GEMINI_SYSTEM_MD".to_owned(), "/s/system-prompt.md".to_owned()))
    );
    assert!(launch.files.contains(&("system-prompt.md", "Be brief.".to_owned())));
}

#[test]
fn limits_are_the_highest_layer_of_settings() {
    let tools = ["read_file".to_owned(), "run_shell_command(git)".to_owned()];
    let request = TurnRequest {
        allowed_tools: &tools,
        max_turns: Some(7),
        ..plain()
    };
    let (_, launch) = launch("gemini", &request);
    let variable = ("GEMINI_CLI_SYSTEM_SETTINGS_PATH", "/s/gemini-settings.json");
    assert!(launch.env.ends_with(&vars([variable])));
    let (name, text) = launch.files.last().unwrap();
    assert_eq!(*name, "gemini-settings.json");
    let settings: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        settings,
        json!({"tools": {"core": ["read_file", "run_shell_command(git)"]}, "model": {"maxSessionTurns": 7}})
    );
}

#[test]
fn the_answer_is_the_text_after_the_last_tool() {
    let remark = r#"{"type":"message","role":"assistant","content":"I will write it. ","delta":true}"#;
    assert_eq!(
        final_event("gemini", &format!("{remark}\n{TOOL}")).result.as_deref(),
        Some("Answer 3.")
    );
}

#[test]
fn a_refused_request_leaves_no_session() {
    let seen = observe("gemini", BAD_REQUEST);
    assert_eq!(seen.agent_session_id, None);
    let event = seen.final_event.unwrap();
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert!(event.error.unwrap().contains("scripted failure"));
    assert_eq!(final_event("gemini", UNAUTHORIZED).outcome, Err(Cause::Auth));
}

#[test]
fn a_missing_key_is_read_from_stderr() {
    let mut observer = agent("gemini").observer(false).unwrap();
    for line in [
        "YOLO mode is enabled. All tool calls will be automatically approved.",
        "When using Gemini API, you must specify the GEMINI_API_KEY environment variable.",
        "Update your environment and try again (no reload needed if using .env)!",
    ] {
        observer.observe_line(Stream::Stderr, line.as_bytes());
    }
    let (cause, message) = observer.observation().failure.clone().unwrap();
    assert_eq!(cause, Cause::Auth);
    assert!(message.starts_with("When using Gemini API"));
}

#[test]
fn unknown_details_do_not_lose_the_final_event() {
    let event = final_event("gemini", r#"{"type":"result","status":"success","stats":[],"error":7}"#);
    assert_eq!((event.outcome, event.usage), (Ok(()), Usage::default()));
}

#[test]
fn reaching_max_turns_is_a_failure_with_a_stop_reason() {
    let line = r#"{"type":"result","status":"error","error":{"type":"FatalTurnLimitedError","message":"Reached max session turns for this session."},"stats":{}}"#;
    let event = final_event("gemini", line);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::MaxTurnRequests));
}
