//! Which requests the agents take, and which they refuse.

use super::{agent, launch, plain};
use crate::{Agent, Custom, Format, PromptBy, Stdin, TurnRequest, built_in_agents, find};
use promptd_model::MAX_ARGUMENT;
use promptd_model::{PermissionMode, Stdout};

fn custom(command: &[&str], prompt: PromptBy) -> Agent {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    Agent::Custom(Custom {
        name: "mine".to_owned(),
        command,
        prompt,
        stream: Format::lines(),
        stdout: Stdout::File,
        ask_mode: None,
    })
}

#[test]
fn find_returns_the_agent_of_the_name() {
    for agent in built_in_agents() {
        assert_eq!(find(agent.name).map(|found| found.name), Some(agent.name));
    }
    assert!(find("nobody").is_none());
    assert!(find("").is_none());
}

#[test]
fn a_shell_prompt_is_a_script_file() {
    let args = ["one".to_owned()];
    let (line, launch) = launch("shell", &TurnRequest { args: &args, ..plain() });
    assert_eq!(line, "/s/prompt one");
    assert_eq!(launch.stdin, Stdin::Null);
    assert!(agent("shell").observer(false).is_none());
}

#[test]
fn unsupported_fields_are_refused_by_name() {
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
fn a_prompt_over_the_limit_is_refused() {
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
fn an_argument_over_the_kernels_limit_is_refused() {
    let args = ["x".repeat(MAX_ARGUMENT + 1)];
    let refused = agent("claude")
        .launch(&TurnRequest { args: &args, ..plain() })
        .unwrap_err();
    assert_eq!(refused.field, "args");
}

#[test]
fn a_text_that_cannot_be_an_argument_is_refused_by_its_field() {
    let (nul, long) = ("a\0b", "y".repeat(MAX_ARGUMENT + 1));
    let refused = |name: &str, request: TurnRequest<'_>| agent(name).launch(&request).unwrap_err().field;
    for text in [nul, &long] {
        let model = TurnRequest {
            model: Some(text),
            ..plain()
        };
        assert_eq!(refused("claude", model), "model");
        let tools = [text.to_owned()];
        let tools = TurnRequest {
            allowed_tools: &tools,
            ..plain()
        };
        assert_eq!(refused("claude", tools), "allowed_tools");
        let prefix = custom(&["tool", "--prompt={prompt}"], PromptBy::Argument);
        let prompt = TurnRequest {
            prompt: text,
            ..plain()
        };
        assert_eq!(prefix.launch(&prompt).unwrap_err().field, "prompt");
    }
    let script = TurnRequest { prompt: nul, ..plain() };
    assert_eq!(refused("shell", script), "prompt");
    // As standard input, a NUL is a character like any other.
    assert!(agent("claude").launch(&TurnRequest { prompt: nul, ..plain() }).is_ok());
}

#[test]
fn a_configured_command_gets_the_prompt_as_configured() {
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
fn a_configured_agent_has_the_format_that_it_names() {
    let with = |stream: &str| {
        Agent::Custom(Custom {
            name: "mine".to_owned(),
            command: vec!["tool".to_owned(), "acp".to_owned()],
            prompt: PromptBy::Stdin,
            stream: Format::by_name(stream).expect("a format"),
            stdout: Stdout::File,
            ask_mode: None,
        })
    };
    for name in Format::names() {
        for is_dialog in [false, true] {
            assert_eq!(with(name).format(is_dialog).name, name);
        }
    }
    assert!(with("claude-stream-json").observer(false).is_some());
    assert!(with("lines").observer(false).is_none());
    assert!(Format::by_name("claude").is_none());

    // An agent that speaks ACP gets its prompt by the protocol, and can ask.
    let ask = TurnRequest {
        permission: PermissionMode::Ask,
        ..plain()
    };
    for request in [plain(), ask] {
        let launch = with("acp").launch(&request).unwrap();
        assert_eq!((launch.args, launch.stdin), (vec!["acp".to_owned()], Stdin::Dialog));
    }
    assert_eq!(with("codex-json").launch(&plain()).unwrap().stdin, Stdin::Prompt);
    assert_eq!(with("codex-json").launch(&ask).unwrap_err().field, "permission");
}

#[test]
fn a_prompt_too_long_for_an_argument_is_refused_with_a_hint() {
    let agent = custom(&["tool"], PromptBy::Argument);
    let mut prompt = "x".repeat(MAX_ARGUMENT);
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
