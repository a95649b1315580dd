//! `docs/agents.md`, and what is said of an agent that is not installed.

use super::updates_table;
use serde_json::{Value, json};
use support::agents_table::{CELLS, REFUSALS, expected};
use support::lab::AGENTS;
use support::{Server, node, repository};

#[tokio::test]
async fn agents_page_equals_the_table() {
    let server = Server::with()
        .env("PATH", "/nowhere")
        .env("HOME", "/nowhere")
        .start()
        .await;
    let page = page(&server.get("/v1/agents").await);
    let path = repository().join("docs/agents.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == page,
        "docs/agents.md differs; write it with WRITE_DOCS=1 cargo test --test configuration page"
    );
}

fn page(agents: &Value) -> String {
    let pinned = std::fs::read_to_string(node::agents().join("package.json")).unwrap();
    let pinned: Value = serde_json::from_str(&pinned).unwrap();
    let version = |package: &str| {
        let version = ["dependencies", "optionalDependencies"]
            .iter()
            .find_map(|kind| pinned[kind][package].as_str());
        version.expect("its package is in tests/agents/package.json")
    };
    let mut page = String::from(
        "# What each agent does\n\n\
         Generated from the table that the tests compare with the real agents: `WRITE_DOCS=1 cargo test --test \
         configuration page`.\n\n| agent | evidence | version |",
    );
    let cells = |word: fn(&(&str, &str)) -> String| CELLS.iter().map(word).collect::<String>();
    let mut line = |text: &str| page.push_str(text);
    line(&cells(|(cell, _)| format!(" {cell} |")));
    line("\n|---|---|---|");
    line(&"---|".repeat(CELLS.len()));
    line("\n");
    for agent in agents["agents"].as_array().unwrap() {
        let name = agent["name"].as_str().unwrap();
        let evidence = agent["evidence"].as_str().unwrap();
        let setup = AGENTS.iter().find(|setup| setup.agent == name);
        let Some(words) = expected(name) else {
            // The shell is tested everywhere else.
            assert_eq!(name, "shell", "{name} has no line in the table");
            continue;
        };
        assert_eq!(evidence, "tested", "{name}");
        let version = version(setup.unwrap().package);
        line(&format!("| `{name}` | tested | {version} | {} |\n", words.join(" | ")));
    }
    line("\n");
    line(&cells(|(cell, meaning)| format!("- *{cell}*: {meaning}\n")));
    line(
        "\nThe cells:\n\n\
         - `yes`: it does.\n\
         - `not told` under *tokens*: the agent reports no usage.\n\
         - `timeout` under *429*: the agent tries again for longer than a test waits. Only the session's `timeout` ends it.\n\
         - `not tried` under *no key*: without a key the agent calls a server of its maker, which the tests never do.\n\
         - `ends` under *permission*: when something is denied, the agent ends the turn, and the model is not asked again.\n\n\
         `422` means that the request is refused. The answer names the field and says what to do:\n\n",
    );
    line(
        &REFUSALS
            .map(|(field, words)| format!("- `{field}`: {words}\n"))
            .concat(),
    );
    line(&updates_table::table());
    page
}

#[tokio::test]
async fn missing_program_is_named_with_its_install_command() {
    let server = Server::with()
        .env("PATH", "/nowhere")
        .env("HOME", "/nowhere")
        .start()
        .await;
    for (agent, install) in [
        ("claude", "claude-code"),
        ("codex", "@openai/codex"),
        ("gemini", "gemini-cli"),
        ("qwen", "@qwen-code/qwen-code"),
        ("opencode", "opencode-ai"),
        ("copilot", "@github/copilot"),
        ("droid", "install -g droid"),
        ("pi", "@earendil-works/pi-coding-agent"),
    ] {
        let request = json!({ "agent": agent, "prompt": "hello" });
        let (status, problem) = server.send("POST", "/v1/sessions", request).await;
        assert_eq!((status, &problem["code"]), (422, &json!("agent_not_installed")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(install) && detail.contains("shell"), "{detail}");
    }
}
