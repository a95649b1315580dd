//! Command lines of the agents without a file of tests of their own, and what holds for several agents.

use std::path::Path;

use super::{UUID, launch, plain, vars};
use crate::{Link, NO_WORKSPACE_FILES, Stdin, TurnRequest, WorkspaceFiles, built_in_agents, find};
use promptd_model::PermissionMode;

#[test]
fn first_and_follow_up_command_lines() {
    let launches = [
        (
            "qwen",
            "-o stream-json --include-partial-messages -y --session-id ID",
            "-o stream-json --include-partial-messages -y --resume ID -m m --extra",
        ),
        (
            "opencode",
            "run --format json --thinking --auto",
            "run --format json --thinking --auto -s ID -m m --extra",
        ),
        (
            "copilot",
            "--output-format json --allow-all --session-id ID --no-color --no-ask-user --disable-client-telemetry",
            "--output-format json --allow-all --resume=ID --no-color --no-ask-user --disable-client-telemetry --model m \
             --extra",
        ),
        (
            "droid",
            "exec -o stream-json --skip-permissions-unsafe",
            "exec -o stream-json --skip-permissions-unsafe -s ID -m m --extra",
        ),
        ("pi", "-p --mode json", "-p --mode json --session ID --model m --extra"),
    ];
    let args = ["--extra".to_owned()];
    for (name, first, next) in launches {
        let (line, begun) = launch(name, &plain());
        assert_eq!(line, first.replace("ID", UUID));
        assert_eq!(begun.stdin, Stdin::Prompt, "{name}");
        let follow_up = TurnRequest {
            first_turn: false,
            model: Some("m"),
            args: &args,
            ..plain()
        };
        assert_eq!(launch(name, &follow_up).0, next.replace("ID", UUID));
    }
}

#[test]
fn droid_asks_over_acp_and_has_its_instructions_in_its_home() {
    let files = WorkspaceFiles {
        home: Some("/h".into()),
        agents_md: Some("/h/AGENTS.md".into()),
        ..NO_WORKSPACE_FILES.clone()
    };
    let request = TurnRequest {
        permission: PermissionMode::Ask,
        model: Some("m"),
        workspace_files: &files,
        ..plain()
    };
    let (line, droid) = launch("droid", &request);
    assert_eq!(
        (line.as_str(), droid.stdin),
        ("exec --output-format acp", Stdin::Dialog)
    );
    let link = Link {
        at: "/h/.factory/AGENTS.md".into(),
        to: "/h/AGENTS.md".into(),
    };
    assert_eq!(droid.links, [link]);
    // It takes no list of tools then.
    let tools = ["read".to_owned()];
    let request = TurnRequest {
        allowed_tools: &tools,
        ..request
    };
    let refused = super::agent("droid").launch(&request).unwrap_err();
    assert_eq!(refused.field, "allowed_tools");
}

#[test]
fn a_system_prompt_reaches_the_agent_as_a_file() {
    let request = TurnRequest {
        system_prompt: Some("Be brief."),
        ..plain()
    };
    for agent in built_in_agents().filter(|agent| agent.capabilities.system_prompt) {
        let (line, launch) = launch(agent.name, &request);
        assert!(!line.contains("Be brief."), "{line}");
        let file = launch.files.iter().find(|(_, text)| text.contains("Be brief."));
        let path = format!("/s/{}", file.expect("a file with it").0);
        let in_env = launch.env.iter().any(|(_, value)| *value == path);
        assert!(in_env || line.contains(&path), "{}", agent.name);
    }
}

#[test]
fn allowed_tools_become_an_option_or_a_variable() {
    let tools = ["read".to_owned(), "bash".to_owned()];
    let request = TurnRequest {
        allowed_tools: &tools,
        ..plain()
    };
    for (name, option) in [
        ("copilot", "--available-tools=read,bash"),
        ("droid", "--only-tools read,bash"),
        ("pi", "--tools read,bash"),
    ] {
        assert!(launch(name, &request).0.contains(option), "{name}");
    }
    let permission = ("OPENCODE_PERMISSION", r#"{"*":"deny","read":"allow","bash":"allow"}"#);
    assert!(launch("opencode", &request).1.env.ends_with(&vars([permission])));
}

#[test]
fn agents_md_elsewhere_reaches_qwen_opencode_and_copilot() {
    let files = WorkspaceFiles {
        home: Some("/h".into()),
        agents_md: Some("/h/AGENTS.md".into()),
        skills: vec!["/w/skills/own".into()],
        ..NO_WORKSPACE_FILES.clone()
    };
    let request = TurnRequest {
        workspace_files: &files,
        ..plain()
    };
    let link = |at: &str, to: &str| Link {
        at: at.into(),
        to: to.into(),
    };
    let skill = link("/h/.agents/skills/own", "/w/skills/own");
    let (_, qwen) = launch("qwen", &request);
    let included = r#""context":{"includeDirectories":["/s/mounted"],"loadFromIncludeDirectories":true}"#;
    assert!(qwen.files[0].1.contains(included), "{}", qwen.files[0].1);
    assert_eq!(
        qwen.links,
        [skill.clone(), link("/s/mounted/AGENTS.md", "/h/AGENTS.md")]
    );
    let (_, opencode) = launch("opencode", &request);
    let instructions = r#"{"instructions":["/h/AGENTS.md"]}"#;
    assert_eq!(opencode.files, [("opencode.json", instructions.to_owned())]);
    assert_eq!(opencode.links, std::slice::from_ref(&skill));
    let (_, copilot) = launch("copilot", &request);
    let instructions = link("/h/.copilot/copilot-instructions.md", "/h/AGENTS.md");
    assert_eq!(copilot.links, [skill, instructions]);
}

#[test]
fn max_turns_is_an_option_of_qwen() {
    let request = TurnRequest {
        max_turns: Some(3),
        ..plain()
    };
    assert!(launch("qwen", &request).0.ends_with("--max-session-turns 3"));
}

#[test]
fn the_real_program_of_a_launcher_is_found() {
    let programs = |name: &str, launcher: &str| {
        let found = (find(name).expect("a built-in agent").native)(Path::new(launcher));
        found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        programs("qwen", "/n/@qwen-code/qwen-code/cli-entry.js"),
        ["/n/@qwen-code/qwen-code/cli.js"]
    );
    let arch = if cfg!(target_arch = "x86_64") { "x64" } else { "arm64" };
    assert_eq!(
        programs("copilot", "/n/@github/copilot/npm-loader.js"),
        [
            format!("/n/@github/copilot/node_modules/@github/copilot-linux-{arch}/copilot"),
            format!("/n/@github/copilot-linux-{arch}/copilot"),
        ]
    );
}

#[test]
fn command_lines_of_agents_that_ask() {
    for (name, expected) in [
        ("gemini", "--acp --approval-mode default -m m"),
        ("qwen", "--acp --approval-mode default -m m"),
        ("opencode", "acp"),
        (
            "copilot",
            "--acp --no-color --no-ask-user --disable-client-telemetry --model m",
        ),
        (
            "codex",
            "app-server -c analytics.enabled=false --disable plugins --disable apps",
        ),
    ] {
        let request = TurnRequest {
            permission: PermissionMode::Ask,
            model: Some("m"),
            ..plain()
        };
        let (line, launch) = launch(name, &request);
        assert_eq!(line, expected);
        assert_eq!(launch.stdin, Stdin::Dialog, "{name}");
        let asks = launch.env.iter().any(|(variable, _)| variable == "OPENCODE_PERMISSION");
        assert_eq!(asks, name == "opencode");
    }
}
