//! One request, or one configuration, says what tools, instructions and skills an agent has; each agent gets them in its
//! own way. No secret stands in arguments, nothing is overwritten, and nothing is written where the agent works.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests fails like a test"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::model::{self, Model};
use crate::support::stand_ins::{Home, TAKE_SERVERS, said, stand_ins, with_stand_ins, write};
use crate::support::tools::SECRET;
use crate::support::{PROMPTD, Server, node};

fn both_servers() -> Value {
    json!({
        "lab": {"command": "lab", "args": ["--key", SECRET], "env": {"LAB": SECRET}},
        "docs": {"url": "http://127.0.0.1:1/mcp", "headers": {"Authorization": format!("Bearer {SECRET}")}},
    })
}

#[tokio::test]
async fn no_secret_stands_in_arguments_and_files_are_their_owners_alone() {
    let home = Home::new("arguments");
    let server = with_stand_ins(&home, "").await;
    for agent in TAKE_SERVERS {
        let request = json!({ "agent": agent, "prompt": "hello", "mcp_servers": both_servers(), "mask": false });
        let (id, output) = said(&server, request).await;
        assert!(!output.contains("s3cret"), "{agent}: {output}");
        let folder = server.session_folder(&id);
        let mut secret_files = 0;
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let holds = std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("s3cret"));
            if holds {
                secret_files += 1;
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", entry.path().display());
            }
        }
        // The session itself and the script at least.
        assert!(secret_files >= 2, "{agent}");
        let session = server.session(&id).await.to_string();
        assert!(!session.contains("s3cret"), "{session}");
    }
}

#[tokio::test]
async fn the_command_line_asks_for_the_same() {
    let home = Home::new("command-line");
    let server = with_stand_ins(&home, "").await;
    let file = home.0.join("servers.json");
    write(&file, &json!({ "mcpServers": both_servers() }).to_string());
    let file = file.display().to_string();
    let mut command = std::process::Command::new(PROMPTD);
    command.arg("--home").arg(server.home()).args(["run", "-a", "claude"]);
    command.args([
        "--id",
        "one",
        "--model",
        "opus",
        "--system-prompt",
        "Be kind.",
        "--max-turns",
        "3",
    ]);
    command.args([
        "--allowed-tool",
        "Read",
        "--allowed-tool",
        "Bash(git *)",
        "--mcp-config",
        &file,
        "hello",
    ]);
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    // A stand-in says no result.
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(server.output("one", "stdout").await).unwrap();
    let folder = server.session_folder("one");
    let told = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for words in [
        "--allowedTools\nRead\nBash(git *)\n--permission-mode\n",
        "--model\nopus\n",
        "--max-turns\n3\n",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(told("system-prompt.md"), "Be kind.");
    assert!(told("mcp.sh").contains("exec 'lab' '--key' "), "{}", told("mcp.sh"));
    assert!(
        told("mcp.json").contains("http://127.0.0.1:1/mcp"),
        "{}",
        told("mcp.json")
    );
}

#[tokio::test]
async fn a_configured_server_of_tools_is_there_for_all_sessions_and_their_own_win() {
    let home = Home::new("configured");
    let config = "[mcp_servers.lab]\ncommand = \"configured\"\n[mcp_servers.more]\ncommand = \"more\"\n";
    let server = with_stand_ins(&home, config).await;
    let own = json!({"lab": {"command": "own"}});
    let (id, _) = said(
        &server,
        json!({ "agent": "claude", "prompt": "hello", "mcp_servers": own }),
    )
    .await;
    let script = std::fs::read_to_string(server.session_folder(&id).join("mcp.sh")).unwrap();
    assert!(
        script.contains("exec 'own'") && script.contains("exec 'more'"),
        "{script}"
    );
    assert!(!script.contains("configured"), "{script}");
    // An agent that takes no such servers is not refused for what somebody else configured.
    let id = server.shell("true").await;
    assert_eq!(server.settled(&id).await["status"], "completed");
}

#[tokio::test]
async fn settings_that_gemini_would_pass_over_without_an_error_are_refused() {
    let home = Home::new("open");
    let programs = home.0.join("programs");
    stand_ins(&programs);
    let open = home.0.join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let builder = Server::with().env("PATH", path).env("HOME", home.text());
    let server = builder.home(&open.join("home")).start().await;
    for (field, value) in [
        ("mcp_servers", both_servers()),
        ("allowed_tools", json!(["read_file"])),
        ("max_turns", json!(3)),
    ] {
        let request = json!({ "agent": "gemini", "prompt": "hello", field: value });
        let (status, problem) = server.send("POST", "/v1/sessions", request).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("--home"), "{problem}");
    }
    said(&server, json!({ "agent": "gemini", "prompt": "hello" })).await;
    said(
        &server,
        json!({ "agent": "claude", "prompt": "hello", "mcp_servers": both_servers() }),
    )
    .await;
}

#[tokio::test]
async fn a_server_that_no_agent_could_use_or_this_one_cannot_is_refused() {
    let home = Home::new("refused");
    let server = with_stand_ins(&home, "").await;
    let neither = json!({"lab": {"args": [SECRET]}});
    let sse = json!({"docs": {"type": "sse", "url": "http://127.0.0.1:1/sse"}});
    for (agent, servers, status, code) in [
        ("claude", &neither, 400, "invalid_field"),
        ("codex", &sse, 422, "unsupported"),
        ("shell", &sse, 422, "unsupported"),
    ] {
        let request = json!({ "agent": agent, "prompt": "hello", "mcp_servers": servers });
        let (answered, problem) = server.send("POST", "/v1/sessions", request).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{problem}");
        assert_eq!(problem["field"], "mcp_servers", "{problem}");
        assert!(!problem.to_string().contains("s3cret"), "{problem}");
    }
}

#[tokio::test]
async fn qwen_takes_no_more_answers_than_it_may() {
    let Some(lab) = Lab::new("qwen").await else { return };
    let (_, turn) = lab
        .begin("model: run printf made > made.txt", json!({ "max_turns": 1 }))
        .await;
    assert_eq!(turn["status"], "failed", "{turn}");
    assert_eq!(turn["stop_reason"], "max_turn_requests", "{turn}");
    assert!(lab.server.workspace().join("made.txt").exists());
    let (_, turn) = lab.begin("model: run true", json!({ "max_turns": 2 })).await;
    assert_eq!(turn["status"], "completed", "{turn}");
}

#[tokio::test]
async fn opencode_runs_no_tool_that_is_not_allowed() {
    let Some(lab) = Lab::new("opencode").await else { return };
    let file = lab.server.workspace().join("made.txt");
    for (tools, made) in [(json!(["read"]), false), (json!(["read", "bash"]), true)] {
        lab.begin("model: run printf made > made.txt", json!({ "allowed_tools": tools }))
            .await;
        assert_eq!(file.exists(), made, "{tools}");
    }
}

#[tokio::test]
async fn gemini_runs_no_tool_that_is_not_allowed_and_no_more_turns_than_it_may() {
    if !tokio::task::spawn_blocking(node::installed).await.unwrap() {
        return;
    }
    let (model, home) = (Model::start().await, Home::new("bounds"));
    home.write(".gemini/settings.json", model::GEMINI_SETTINGS);
    let path = format!("{}:{}", node::programs().display(), std::env::var("PATH").unwrap());
    let server = Server::with().env("PATH", path).env("HOME", home.text()).start().await;
    let env: BTreeMap<_, _> = model.gemini_env().into_iter().collect();
    let prompt = "model: run printf made > made.txt";
    for (tools, turns, status, made) in [
        (json!(["read_file", "run_shell_command(git)"]), 9, "completed", false),
        (json!(["run_shell_command"]), 1, "failed", true),
        (json!(["run_shell_command(printf)"]), 2, "completed", true),
    ] {
        let file = server.workspace().join("made.txt");
        let _old = std::fs::remove_file(&file);
        let request = json!({
            "agent": "gemini", "prompt": prompt, "env": env, "allowed_tools": tools, "max_turns": turns,
        });
        let id = server.create(request).await;
        let session = server.settled(&id).await;
        assert_eq!(session["status"], status, "{tools} {session}");
        let limited = session["turns"][0]["stop_reason"] == "max_turn_requests";
        assert_eq!(limited, turns == 1, "{session}");
        assert_eq!(file.exists(), made, "{tools} {session}");
    }
}
