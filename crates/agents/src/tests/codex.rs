//! Codex's launches, and its streams as recorded from 0.169.0.

use std::path::Path;

use super::{final_event, launch, observe, plain, recorded};
use crate::launch::command::Stdin;
use crate::{BuiltIn, TurnRequest, find};
use promptd_model::{Cause, Usage};

const PLAIN: &str = recorded!("codex-plain");

const ALWAYS: &str = "exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox \
                      -c analytics.enabled=false --disable plugins --disable apps";

fn codex() -> &'static BuiltIn {
    find("codex").expect("a built-in agent")
}

#[test]
fn a_first_turn_reads_the_prompt_from_stdin() {
    let (line, launch) = launch("codex", &plain());
    assert_eq!(line, format!("{ALWAYS} -"));
    assert!(launch.env.is_empty());
    assert_eq!(launch.stdin, Stdin::Prompt);
}

#[test]
fn a_follow_up_turn_resumes_after_all_options() {
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
fn the_native_binary_is_inside_the_package_or_beside_it() {
    let found = (codex().native)(Path::new("/lib/node_modules/@openai/codex/bin/codex.js"));
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
    assert!((codex().native)(Path::new("codex")).is_empty());
}

#[test]
fn warnings_do_not_change_a_plain_turn() {
    let warning = r#"{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata for `gpt-5` not found. Defaulting to fallback metadata; this can degrade performance and cause issues."}}"#;
    let seen = observe("codex", &format!("{warning}\n{PLAIN}"));
    assert_eq!(seen.failure, None);
    let event = seen.final_event.unwrap();
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("Answer 1.")));
}

#[test]
fn an_error_event_is_not_final() {
    let reconnecting = r#"{"type":"error","message":"Reconnecting... 1/5 (unexpected status 503)"}"#;
    let seen = observe("codex", reconnecting);
    assert_eq!(seen.final_event, None);
    assert_eq!(seen.failure.map(|(cause, _)| cause), Some(Cause::Overloaded));
    assert_eq!(observe("codex", &format!("{reconnecting}\n{PLAIN}")).failure, None);
}

#[test]
fn unknown_details_do_not_lose_the_final_event() {
    let event = final_event(
        "codex",
        r#"{"type":"turn.completed","usage":{"input_tokens":"many"},"error":"none"}"#,
    );
    assert_eq!((event.outcome, event.usage), (Ok(()), Usage::default()));
}

#[test]
fn a_search_gets_its_query_at_its_end() {
    let item = |kind: &str, query: &str| {
        format!(r#"{{"type":"item.{kind}","item":{{"id":"w","type":"web_search","query":"{query}"}}}}"#)
    };
    let mut translator = codex().format.new_translator().unwrap();
    translator.translate_line(item("started", "").as_bytes()).unwrap();
    let updates = translator
        .translate_line(item("completed", "weather").as_bytes())
        .unwrap();
    let [input, end] = updates.as_slice() else {
        panic!("{updates:?}")
    };
    let [input, end] = [input, end].map(|update| serde_json::to_value(update).unwrap());
    assert_eq!(
        (&input["rawInput"]["query"], &input["title"]),
        (&"weather".into(), &"Search the web for `weather`".into())
    );
    assert_eq!(end["status"], "completed");
}
