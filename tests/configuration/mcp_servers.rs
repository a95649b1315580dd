//! One request, or one configuration, says what tools, instructions and skills an agent has; each agent gets them in its
//! own way. No secret stands in arguments, nothing is overwritten, and nothing is written where the agent works.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use support::stand_ins::{Home, TAKE_SERVERS, said, stand_ins, with_stand_ins, write};
use support::tools::SECRET;
use support::{Server, promptd};

fn both_servers() -> Value {
    json!({
        "lab": {"command": "lab", "args": ["--key", SECRET], "env": {"LAB": SECRET}},
        "docs": {"url": "http://127.0.0.1:1/mcp", "headers": {"Authorization": format!("Bearer {SECRET}")}},
    })
}

#[tokio::test]
async fn arguments_hold_no_secret_and_files_are_private() {
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
async fn command_line_passes_mcp_servers() {
    let home = Home::new("command-line");
    let server = with_stand_ins(&home, "").await;
    let file = home.0.join("servers.json");
    write(&file, &json!({ "mcpServers": both_servers() }).to_string());
    let file = file.display().to_string();
    let mut command = std::process::Command::new(promptd());
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
    let ran = tokio::task::spawn_blocking(move || support::child::run(&mut command))
        .await
        .unwrap();
    // A stand-in says no result.
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(server.output("one", "stdout").await).unwrap();
    let folder = server.session_folder("one");
    let content = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for words in [
        "--allowedTools\nRead\nBash(git *)\n--permission-mode\n",
        "--model\nopus\n",
        "--max-turns\n3\n",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(content("system-prompt.md"), "Be kind.");
    assert!(
        content("mcp.sh").contains("exec 'lab' '--key' "),
        "{}",
        content("mcp.sh")
    );
    assert!(
        content("mcp.json").contains("http://127.0.0.1:1/mcp"),
        "{}",
        content("mcp.json")
    );
}

/// No shell reads them, so an agent that looked for a folder named `~` found none.
#[tokio::test]
async fn tilde_in_command_and_arguments_is_the_home() {
    let home = Home::new("tilde");
    let server = with_stand_ins(&home, "").await;
    let args = ["~/docs", "~", "--root=~/x", "a~/b", "~root/x", "$HOME/x", "./~"];
    let servers = json!({ "lab": { "command": "~/bin/lab", "args": args } });
    let (id, _) = said(
        &server,
        json!({ "agent": "claude", "prompt": "hello", "mcp_servers": servers, "mask": false }),
    )
    .await;
    let script = std::fs::read_to_string(server.session_folder(&id).join("mcp.sh")).unwrap();
    let home = home.text();
    let expected =
        format!("exec '{home}/bin/lab' '{home}/docs' '{home}' '--root=~/x' 'a~/b' '~root/x' '$HOME/x' './~'");
    assert!(script.contains(&expected), "{script}");
}

#[tokio::test]
async fn session_mcp_servers_override_configured_ones() {
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
async fn settings_that_gemini_would_ignore_are_refused() {
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
async fn unusable_mcp_server_is_refused() {
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
