//! Codex's launches, and its streams as recorded from 0.169.0.

use super::super::tests::{final_event, launch, observe, plain};
use super::*;
use promptd_model::{Cause, StopReason, Usage};

pub(in super::super) const TOOL: &str = include_str!("../../../tests/agents/recorded/codex-tool.ndjson");
const PLAIN: &str = include_str!("../../../tests/agents/recorded/codex-plain.ndjson");
const FOLLOW_UP: &str = include_str!("../../../tests/agents/recorded/codex-follow-up.ndjson");
const BAD_REQUEST: &str = include_str!("../../../tests/agents/recorded/codex-400.ndjson");
const UNAUTHORIZED: &str = include_str!("../../../tests/agents/recorded/codex-401.ndjson");
const INTERRUPT: &str = include_str!("../../../tests/agents/recorded/codex-interrupt.ndjson");

const ALWAYS: &str = "exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox \
                      -c analytics.enabled=false --disable plugins --disable apps";

#[test]
fn a_first_turn_reads_the_prompt_and_leaves_the_thread_to_codex() {
    let (line, launch) = launch("codex", &plain());
    assert_eq!(line, format!("{ALWAYS} -"));
    assert!(launch.env.is_empty());
    assert_eq!(launch.stdin, Stdin::Prompt);
}

#[test]
fn a_follow_up_turn_resumes_the_thread_after_all_options() {
    let args = ["--oss".to_owned()];
    let request = TurnRequest {
        first_turn: false,
        agent_session_id: Some("abc"),
        model: Some("gpt"),
        system_prompt: Some("Be brief."),
        files_dir: Path::new("/a \"b\""),
        args: &args,
        ..plain()
    };
    let (line, launch) = launch("codex", &request);
    let options = r#"-m gpt -c model_instructions_file="/a \"b\"/system-prompt.md" --oss"#;
    assert_eq!(line, format!("{ALWAYS} {options} resume abc -"));
    assert_eq!(launch.files, [("system-prompt.md", "Be brief.".to_owned())]);
}

#[test]
fn the_native_binary_is_looked_for_inside_the_package_and_beside_it() {
    let found = native(Path::new("/lib/node_modules/@openai/codex/bin/codex.js"));
    let scopes = [
        "/lib/node_modules/@openai/codex/node_modules/@openai/",
        "/lib/node_modules/@openai/",
    ];
    assert_eq!(found.len(), 2);
    for (path, scope) in found.iter().zip(scopes) {
        let rest = path.strip_prefix(scope).unwrap().to_str().unwrap();
        assert!(
            rest.starts_with("codex-linux-") && rest.ends_with("-unknown-linux-musl/bin/codex"),
            "{rest}"
        );
    }
    assert!(native(Path::new("codex")).is_empty());
}

#[test]
fn a_plain_turn_ends_with_its_last_message_despite_warnings() {
    let warning = r#"{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata for `gpt-5` not found. Defaulting to fallback metadata; this can degrade performance and cause issues."}}"#;
    let seen = observe("codex", &format!("{warning}\n{PLAIN}"));
    assert!(seen.agent_session_id.is_some());
    assert_eq!(seen.failure, None);
    let event = seen.final_event.unwrap();
    assert_eq!(event.outcome, Ok(()));
    assert_eq!(event.stop_reason, Some(StopReason::EndTurn));
    assert_eq!(event.result.as_deref(), Some("Answer 1."));
    let usage = Usage {
        input_tokens: Some(110),
        output_tokens: Some(7),
        cached_tokens: Some(30),
        cost_usd: None,
    };
    assert_eq!(event.usage, usage);
}

#[test]
fn a_resumed_thread_counts_its_tokens_on() {
    assert_eq!(
        observe("codex", FOLLOW_UP).agent_session_id,
        observe("codex", PLAIN).agent_session_id
    );
    assert_eq!(final_event("codex", FOLLOW_UP).usage.input_tokens, Some(220));
    assert!(CODEX.format.usage_is_cumulative);
}

#[test]
fn a_turn_with_a_tool_ends_with_the_answer_after_it() {
    assert_eq!(final_event("codex", TOOL).result.as_deref(), Some("Answer 3."));
}

#[test]
fn a_failed_turn_says_why() {
    let event = final_event("codex", BAD_REQUEST);
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert!(event.error.unwrap().contains("scripted failure"));
    assert_eq!(final_event("codex", UNAUTHORIZED).outcome, Err(Cause::Auth));
}

#[test]
fn an_interrupted_turn_has_no_final_event_but_can_be_resumed() {
    let seen = observe("codex", INTERRUPT);
    assert_eq!(seen.final_event, None);
    assert!(seen.agent_session_id.is_some());
}

#[test]
fn an_error_event_is_not_final_and_is_forgotten_once_it_gets_on() {
    let reconnecting = r#"{"type":"error","message":"Reconnecting... 1/5 (unexpected status 503)"}"#;
    let seen = observe("codex", reconnecting);
    assert_eq!(seen.final_event, None);
    assert_eq!(seen.failure.map(|(cause, _)| cause), Some(Cause::Overloaded));
    assert_eq!(observe("codex", &format!("{reconnecting}\n{PLAIN}")).failure, None);
}

#[test]
fn details_of_an_unknown_shape_do_not_cost_the_final_event() {
    let event = final_event(
        "codex",
        r#"{"type":"turn.completed","usage":{"input_tokens":"many"},"error":"none"}"#,
    );
    assert_eq!((event.outcome, event.usage), (Ok(()), Usage::default()));
}

#[test]
fn a_search_whose_words_are_known_at_its_end_is_told_with_them() {
    let item = |kind: &str, query: &str| {
        format!(r#"{{"type":"item.{kind}","item":{{"id":"w","type":"web_search","query":"{query}"}}}}"#)
    };
    let mut translator = CODEX.format.translator.unwrap()();
    translator.line(item("started", "").as_bytes()).unwrap();
    let updates = translator.line(item("completed", "weather").as_bytes()).unwrap();
    let [more, end] = updates.as_slice() else {
        panic!("{updates:?}")
    };
    let [more, end] = [more, end].map(|update| serde_json::to_value(update).unwrap());
    assert_eq!(
        (&more["rawInput"]["query"], &more["title"]),
        (&"weather".into(), &"web_search weather".into())
    );
    assert_eq!(end["status"], "completed");
}
