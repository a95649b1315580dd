//! What holds for every agent: launches as data, refusals, and that no output can harm an observer.

use std::path::Path;

use proptest::prelude::*;

use super::observe::keep_stderr;
use super::*;
use promptd_model::{Cause, FinalEvent, Observation, Stream};

const UUID: &str = "0198d0b4-0000-7000-8000-000000000001";

static NO_SERVERS: BTreeMap<String, McpServer> = BTreeMap::new();

/// A request for a first turn with nothing special about it.
pub(super) fn plain() -> TurnRequest<'static> {
    TurnRequest {
        prompt_file: Path::new("/s/prompt"),
        prompt: "hello",
        cwd: Path::new("/w"),
        permission: PermissionMode::Bypass,
        mcp_servers: &NO_SERVERS,
        mounted: &NOTHING_MOUNTED,
        files_dir: Path::new("/s"),
        first_turn: true,
        agent_session_id: Some(UUID),
        model: None,
        system_prompt: None,
        max_turns: None,
        allowed_tools: &[],
        args: &[],
        root: false,
    }
}

pub(super) fn agent(name: &str) -> Agent {
    Agent::Known(find(name).expect("a known agent"))
}

/// The launch of a request that the agent takes, its arguments as one line.
pub(super) fn launch(name: &str, request: &TurnRequest<'_>) -> (String, Launch) {
    let launch = agent(name).launch(request).expect("the agent takes it");
    (launch.args.join(" "), launch)
}

/// Feeds a recorded stdout to the agent's observer and returns what it saw.
pub(super) fn observe(name: &str, stdout: &str) -> Observation {
    let mut observer = agent(name).observer(PermissionMode::Bypass).expect("it has a stream");
    for line in stdout.lines() {
        observer.line(Stream::Stdout, line.as_bytes());
        assert!(observer.observation().last_line_known, "{line}");
    }
    observer.observation().clone()
}

pub(super) fn final_event(name: &str, stdout: &str) -> FinalEvent {
    observe(name, stdout)
        .final_event
        .expect("the stream ends with a final event")
}

fn custom(command: &[&str], prompt: PromptBy) -> Agent {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    Agent::Custom(Custom {
        name: "mine".to_owned(),
        command,
        prompt,
        stream: Format::lines(),
    })
}

#[test]
fn a_name_finds_its_agent_and_nothing_else() {
    for known in known() {
        assert_eq!(find(known.name).map(|found| found.name), Some(known.name));
    }
    assert!(find("nobody").is_none());
    assert!(find("").is_none());
}

#[test]
fn a_shell_prompt_is_a_script_file_with_the_callers_arguments() {
    let args = ["one".to_owned()];
    let (line, launch) = launch("shell", &TurnRequest { args: &args, ..plain() });
    assert_eq!(line, "/s/prompt one");
    assert_eq!(launch.stdin, Stdin::Null);
    assert!(agent("shell").observer(PermissionMode::Bypass).is_none());
}

#[test]
fn what_an_agent_cannot_do_is_refused_and_says_which_field() {
    let tools = ["Read".to_owned()];
    let cases = [
        (
            "shell",
            "model",
            TurnRequest {
                model: Some("m"),
                ..plain()
            },
        ),
        (
            "shell",
            "system_prompt",
            TurnRequest {
                system_prompt: Some("s"),
                ..plain()
            },
        ),
        (
            "codex",
            "max_turns",
            TurnRequest {
                max_turns: Some(3),
                ..plain()
            },
        ),
        (
            "codex",
            "allowed_tools",
            TurnRequest {
                allowed_tools: &tools,
                ..plain()
            },
        ),
    ];
    for (name, field, request) in cases {
        let refused = agent(name).launch(&request).unwrap_err();
        assert_eq!((refused.agent.as_str(), refused.field), (name, field));
    }
    let refused = agent("codex")
        .launch(&TurnRequest {
            max_turns: Some(3),
            ..plain()
        })
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "agent \"codex\" cannot take `max_turns`: leave it out; `timeout` bounds a turn too"
    );
}

#[test]
fn a_prompt_longer_than_the_agent_takes_is_refused_before_it_starts() {
    let limits = [
        ("claude", 10 << 20, "x"),
        ("codex", 1 << 20, "é"),
        ("gemini", 8 << 20, "x"),
    ];
    for (name, limit, unit) in limits {
        let mut prompt = unit.repeat(limit);
        assert!(
            agent(name)
                .launch(&TurnRequest {
                    prompt: &prompt,
                    ..plain()
                })
                .is_ok(),
            "{name}"
        );
        prompt.push_str(unit);
        let refused = agent(name)
            .launch(&TurnRequest {
                prompt: &prompt,
                ..plain()
            })
            .unwrap_err();
        assert_eq!(refused.field, "prompt");
        assert!(refused.hint.contains(&limit.to_string()), "{}", refused.hint);
    }
}

#[test]
fn an_argument_longer_than_the_kernel_takes_is_refused() {
    let args = ["x".repeat(ARGUMENT_LIMIT + 1)];
    let refused = agent("claude")
        .launch(&TurnRequest { args: &args, ..plain() })
        .unwrap_err();
    assert_eq!(refused.field, "args");
}

#[test]
fn a_configured_command_gets_the_prompt_the_way_it_asks_for() {
    let cases: [(&[&str], PromptBy, &[&str], Stdin); 6] = [
        (&["tool", "-x"], PromptBy::Stdin, &["-x", "more"], Stdin::Prompt),
        (
            &["tool", "-x"],
            PromptBy::Argument,
            &["-x", "more", "hello"],
            Stdin::Null,
        ),
        (
            &["tool", "-p={prompt}", "-x"],
            PromptBy::Argument,
            &["-p=hello", "-x", "more"],
            Stdin::Null,
        ),
        (
            &["tool", "-x"],
            PromptBy::File,
            &["-x", "more", "/s/prompt"],
            Stdin::Null,
        ),
        (
            &["tool", "{prompt_file}"],
            PromptBy::File,
            &["/s/prompt", "more"],
            Stdin::Null,
        ),
        (&["tool"], PromptBy::Stdin, &["more"], Stdin::Prompt),
    ];
    let args = ["more".to_owned()];
    for (command, prompt, expected, stdin) in cases {
        let agent = custom(command, prompt);
        assert_eq!(agent.programs(), ["tool"]);
        let launch = agent.launch(&TurnRequest { args: &args, ..plain() }).unwrap();
        assert_eq!(launch.args, expected);
        assert_eq!(launch.stdin, stdin);
    }
}

#[test]
fn a_configured_agent_is_read_by_the_stream_it_names() {
    let with = |stream: &str| {
        Agent::Custom(Custom {
            name: "mine".to_owned(),
            command: vec!["tool".to_owned(), "acp".to_owned()],
            prompt: PromptBy::Stdin,
            stream: Format::by_name(stream).expect("a format"),
        })
    };
    for name in Format::names() {
        for permission in [PermissionMode::Bypass, PermissionMode::Ask] {
            assert_eq!(with(name).format(permission).name, name);
        }
    }
    assert!(with("claude-stream-json").observer(PermissionMode::Bypass).is_some());
    assert!(with("lines").observer(PermissionMode::Bypass).is_none());
    assert!(Format::by_name("claude").is_none());

    // One that speaks ACP gets its prompt by the protocol, and can be asked for what the protocol has a word for.
    let ask = TurnRequest {
        permission: PermissionMode::Ask,
        ..plain()
    };
    for request in [plain(), ask] {
        let launch = with("acp").launch(&request).unwrap();
        assert_eq!(
            (launch.args, launch.stdin),
            (vec!["acp".to_owned()], Stdin::Conversation)
        );
    }
    assert_eq!(with("codex-json").launch(&plain()).unwrap().stdin, Stdin::Prompt);
    assert_eq!(with("codex-json").launch(&ask).unwrap_err().field, "permission");
}

#[test]
fn a_prompt_that_does_not_fit_into_an_argument_is_refused_with_the_way_out() {
    let agent = custom(&["tool"], PromptBy::Argument);
    let mut prompt = "x".repeat(ARGUMENT_LIMIT);
    assert!(
        agent
            .launch(&TurnRequest {
                prompt: &prompt,
                ..plain()
            })
            .is_ok()
    );
    let refused = |prompt: &str| agent.launch(&TurnRequest { prompt, ..plain() }).unwrap_err();
    assert_eq!(refused("a\0b").field, "prompt");
    prompt.push('x');
    let refused = refused(&prompt);
    assert_eq!(refused.field, "prompt");
    assert!(
        refused.hint.contains("131071") && refused.hint.contains("\"stdin\""),
        "{}",
        refused.hint
    );
}

#[test]
fn an_answer_is_kept_up_to_its_limit_and_never_cut_inside_a_character() {
    let mut text = "x".to_owned();
    observe::push_text(&mut text, &"é".repeat(observe::TEXT_LIMIT));
    assert_eq!(text.len(), observe::TEXT_LIMIT - 1);
    observe::push_text(&mut text, "ab");
    assert!(text.ends_with("éa"));
    observe::push_text(&mut text, "c");
    assert!(text.ends_with("éa"));
}

#[test]
fn a_line_on_stderr_that_names_a_cause_beats_one_that_does_not() {
    let mut seen = Observation::default();
    keep_stderr(&mut seen, b"just chatting");
    assert_eq!(seen.failure, None);
    keep_stderr(&mut seen, b"Error: it broke");
    keep_stderr(&mut seen, b"Error: it broke further");
    assert_eq!(seen.failure, Some((Cause::AgentError, "Error: it broke".to_owned())));
    keep_stderr(&mut seen, b"status 429");
    assert_eq!(seen.failure, Some((Cause::Quota, "status 429".to_owned())));
}

/// A line in the form of some agent's events, with values of any kind in the places that matter.
fn event_like() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![
        "system",
        "result",
        "assistant",
        "thread.started",
        "turn.completed",
        "turn.failed",
        "item.completed",
        "error",
        "init",
        "message",
        "tool_use",
        "text",
        "step_finish",
        "completion",
        "reasoning",
        "tool_result",
        "assistant.message",
        "session.error",
        "tool.execution_complete",
        "message_update",
        "message_end",
        "agent_end",
        "complete",
    ]);
    let key = prop::sample::select(vec![
        "subtype",
        "session_id",
        "thread_id",
        "is_error",
        "result",
        "errors",
        "stop_reason",
        "error",
        "item",
        "usage",
        "stats",
        "message",
        "content",
        "role",
        "status",
        "model_usage_since_last_result",
        "api_error_status",
        "part",
        "data",
        "exitCode",
        "sessionId",
        "assistantMessageEvent",
        "isError",
        "value",
    ]);
    let value = prop::sample::select(vec![
        "null",
        "true",
        "-1",
        "1e400",
        "18446744073709551616",
        "\"\"",
        "\"success\"",
        "\"\\ud800\"",
        "[]",
        "[[{}]]",
        "{}",
        "{\"type\":3}",
        "{\"message\":null}",
        "{\"input_tokens\":-5}",
        "{\"m\":{\"costUSD\":\"x\"}}",
    ]);
    (kind, prop::collection::vec((key, value), 0..6)).prop_map(|(kind, fields)| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!(",\"{key}\":{value}"))
            .collect();
        let fields = fields.concat();
        format!("{{\"type\":\"{kind}\"{fields}}}").into_bytes()
    })
}

/// A recorded stream with one byte changed and its end cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let streams = [
        &[claude::tests::TOOL, codex::tests::TOOL, gemini::tests::TOOL][..],
        &formats::TOOLS,
    ]
    .concat();
    (
        prop::sample::select(streams),
        any::<prop::sample::Index>(),
        any::<u8>(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(stream, at, byte, end)| {
            let mut bytes = stream.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(end.index(bytes.len()));
            bytes
        })
}

proptest! {
    #[test]
    fn no_output_makes_an_observer_panic_or_keep_too_much(
        chunks in prop::collection::vec(
            prop_oneof![event_like(), damaged(), prop::collection::vec(any::<u8>(), 0..200)], 0..20)
    ) {
        for known in known() {
            let Some(mut observer) = known.format.observer.map(|make| make()) else { continue };
            let mut translator = known.format.translator.map(|make| make());
            for line in chunks.iter().flat_map(|chunk| chunk.split(|byte| *byte == b'\n')) {
                if let Some(translator) = &mut translator {
                    translator.line(line);
                }
                observer.line(Stream::Stdout, line);
                observer.line(Stream::Stderr, line);
                prop_assert!(!observer.observation().last_line_known);
            }
            if let Some(event) = &observer.observation().final_event {
                let kept = event.result.as_ref().or(event.error.as_ref()).map_or(0, String::len);
                prop_assert!(kept <= observe::TEXT_LIMIT);
            }
        }
    }
}
