//! One request, or one configuration, says what tools, instructions and skills an agent has; each agent gets them in its
//! own way. No secret stands in arguments, nothing is overwritten, and nothing is written where the agent works.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests fails like a test"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::model::{self, Model};
use crate::support::tools::SECRET;
use crate::support::{Server, node, outside};

const TAKE_SERVERS: [&str; 6] = ["claude", "codex", "gemini", "qwen", "opencode", "copilot"];

/// A home that belongs to no repository, unlike the folders of other tests.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        Self(outside(name))
    }

    fn write(&self, name: &str, text: &str) {
        write(&self.0.join(name), text);
    }

    fn text(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn skill(name: &str, description: &str) -> String {
    format!("---\nname: {name}\ndescription: {description}\n---\nDo it.\n")
}

/// All that is in a folder, links as what they lead to.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            found.insert(path.clone(), format!("-> {}", path.read_link().unwrap().display()));
        } else if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// Agents that say how they were started, and read no prompt.
fn stand_ins(programs: &Path) {
    for agent in TAKE_SERVERS {
        let path = programs.join(agent);
        write(
            &path,
            "#!/bin/sh\necho arguments\ntr '\\0' '\\n' < /proc/$$/cmdline\necho variables\nenv | cut -d= -f1\n",
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A server whose agents are stand-ins.
async fn with_stand_ins(home: &Home, config: &str) -> Server {
    let programs = home.0.join("programs");
    stand_ins(&programs);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let builder = Server::with().env("PATH", path).env("HOME", home.text());
    builder.config(config).start().await
}

fn both_servers() -> Value {
    json!({
        "lab": {"command": "lab", "args": ["--key", SECRET], "env": {"LAB": SECRET}},
        "docs": {"url": "http://127.0.0.1:1/mcp", "headers": {"Authorization": format!("Bearer {SECRET}")}},
    })
}

/// Runs one turn; answers the session's id and what the stand-in said.
async fn said(server: &Server, request: Value) -> (String, String) {
    let id = server.create(request).await;
    server.settled(&id).await;
    let output = String::from_utf8(server.output(&id, "stdout").await).unwrap();
    assert!(output.contains("\nvariables\n"), "{output}");
    (id, output)
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
async fn what_stands_ready_is_shown_without_writing_where_the_agent_works_or_over_anything() {
    let home = Home::new("ready");
    home.write("AGENTS.md", "Be kind.");
    home.write(".agents/skills/taken/SKILL.md", &skill("taken", "from before"));
    home.write(".codex/AGENTS.md", "From before.");
    let server = with_stand_ins(&home, "").await;
    let workspace = server.workspace();
    write(
        &workspace.join("skills/own/SKILL.md"),
        &skill("own", "in the workspace"),
    );
    write(
        &workspace.join("skills/taken/SKILL.md"),
        &skill("taken", "in the workspace"),
    );
    write(&workspace.join("config.toml"), "model_provider = \"mine\"\n");
    write(
        &workspace.join("mcp.json"),
        r#"{"mcpServers":{"ready":{"command":"ready"}}}"#,
    );
    let (worked_in, before) = (tree(&workspace), tree(&home.0));

    let (id, claude) = said(&server, json!({ "agent": "claude", "prompt": "hello" })).await;
    let mounted = server.session_folder(&id).join("mounted");
    assert!(
        claude.contains(&format!("--add-dir\n{}\n", mounted.display())),
        "{claude}"
    );
    let appended = format!("--append-system-prompt-file\n{}/AGENTS.md\n", home.text());
    assert!(claude.contains(&appended), "{claude}");
    assert!(mounted.join(".claude/skills/own/SKILL.md").is_file());
    let servers = std::fs::read_to_string(server.session_folder(&id).join("mcp.json")).unwrap();
    assert!(servers.contains("\"ready\""), "{servers}");
    assert_eq!(tree(&home.0), before);

    said(&server, json!({ "agent": "codex", "prompt": "hello" })).await;
    said(&server, json!({ "agent": "gemini", "prompt": "hello" })).await;
    let mut expected = before;
    for (at, to) in [
        (".agents/skills/own", "skills/own"),
        (".codex/config.toml", "config.toml"),
    ] {
        expected.insert(home.0.join(at), format!("-> {}", workspace.join(to).display()));
    }
    assert_eq!(tree(&home.0), expected);
    assert_eq!(tree(&workspace), worked_in);
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
async fn a_home_that_is_a_repository_gets_no_link_and_another_tools_config_is_nobodys() {
    let home = Home::new("repository");
    std::fs::create_dir(home.0.join(".git")).unwrap();
    let server = with_stand_ins(&home, "").await;
    let workspace = server.workspace();
    write(
        &workspace.join("skills/own/SKILL.md"),
        &skill("own", "in the workspace"),
    );
    write(&workspace.join("config.toml"), "baseURL = \"https://example.org/\"\n");
    let before = tree(&home.0);
    said(&server, json!({ "agent": "codex", "prompt": "hello" })).await;
    assert_eq!(tree(&home.0), before);

    let other = Home::new("no-repository");
    said(
        &server,
        json!({ "agent": "codex", "prompt": "hello", "env": {"HOME": other.text()} }),
    )
    .await;
    assert_eq!(
        tree(&other.0).into_keys().collect::<Vec<_>>(),
        [other.0.join(".agents/skills/own")]
    );
}

#[tokio::test]
async fn a_link_of_an_earlier_turn_leads_to_what_is_there_now() {
    let home = Home::new("again");
    let server = with_stand_ins(&home, "").await;
    let skills = server.workspace().join("skills");
    write(&skills.join("own/SKILL.md"), &skill("own", "here"));
    let (id, _) = said(&server, json!({ "agent": "claude", "prompt": "hello" })).await;
    let link = server.session_folder(&id).join("mounted/.claude/skills/own");
    assert_eq!(link.read_link().unwrap(), skills.join("own"));
    std::fs::remove_file(&link).unwrap();
    symlink("/nowhere", &link).unwrap();
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "again" }))
        .await;
    server.settled(&id).await;
    assert_eq!(link.read_link().unwrap(), skills.join("own"));
}

#[tokio::test]
async fn a_wrong_file_fails_the_turn_with_its_path_and_what_is_wrong() {
    let home = Home::new("wrong");
    let server = with_stand_ins(&home, "").await;
    let path = server.workspace().join(".mcp.json");
    write(
        &path,
        r#"{"mcpServers":{"lab":{"command":"lab","url":"http://s3cret/"}}}"#,
    );
    let id = server.create(json!({ "agent": "claude", "prompt": "hello" })).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "spawn_failed", "{session}");
    let records = server.records(&id).await;
    let told = records.iter().find_map(|record| record["error"].as_str()).unwrap();
    assert!(
        told.contains(&path.display().to_string()) && told.contains("one of them"),
        "{told}"
    );
    assert!(!told.contains("s3cret"), "{told}");
    // Nobody else reads it.
    let id = server.shell("true").await;
    assert_eq!(server.settled(&id).await["status"], "completed");
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
