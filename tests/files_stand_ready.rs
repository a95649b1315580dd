//! What stands ready in an agent's folders is shown to each agent in its own way: nothing is overwritten, nothing is
//! written where the agent works, and no secret leaves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of tests fails like a test"
)]

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::stand_ins::{Home, said, skill, tree, with_stand_ins, write};

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
async fn what_a_file_gives_a_server_of_tools_is_masked_for_who_listened_before_and_when_it_has_gone() {
    let home = Home::new("masked");
    let mut server = with_stand_ins(&home, "[limits]\nrunning = 1\n").await;
    write(
        &home.0.join("programs/claude"),
        "#!/bin/sh\necho told file-s3cret-1 and file-s3cret-2\n",
    );
    let file = server.workspace().join("mcp.json");
    write(
        &file,
        r#"{"mcpServers":{"lab":{"command":"lab","env":{"LAB":"file-s3cret-1"}},
            "docs":{"url":"http://127.0.0.1:1/mcp","headers":{"Authorization":"Bearer file-s3cret-2"}}}}"#,
    );
    let first = server.shell("until [ -e go ]; do sleep 0.02; done").await;
    server
        .session_when(&first, |session| session["status"] == "running")
        .await;
    let id = server.create(json!({ "agent": "claude", "prompt": "hello" })).await;
    // Opened while nobody had looked for files yet.
    let path = format!("/v1/sessions/{id}/events?follow=true");
    let listener = server.request("GET", &path).header("accept", "application/x-ndjson");
    let listener = listener.send().await.unwrap();
    server.touch("go");
    let heard = listener.text().await.unwrap();
    assert!(
        heard.contains("told *** and ***") && !heard.contains("s3cret"),
        "{heard}"
    );

    std::fs::remove_file(&file).unwrap();
    server.kill();
    server.start_again().await;
    let output = String::from_utf8(server.output(&id, "stdout").await).unwrap();
    assert_eq!(output, "told *** and ***\n");
    // Another value is remembered beside the first.
    write(
        &file,
        r#"{"mcpServers":{"lab":{"command":"lab","env":{"LAB":"file-s3cret-2"}}}}"#,
    );
    server
        .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "again" }))
        .await;
    server.settled(&id).await;
    let output = String::from_utf8(server.output(&id, "stdout").await).unwrap();
    assert_eq!(output, "told *** and ***\ntold *** and ***\n");
}

#[tokio::test]
async fn what_is_no_file_is_not_waited_for_and_what_nobody_may_look_at_is_not_there() {
    let home = Home::new("no-file");
    let server = with_stand_ins(&home, "").await;
    std::fs::create_dir_all(server.workspace()).unwrap();
    for name in ["mcp.json", "config.toml", "AGENTS.md"] {
        nix::unistd::mkfifo(&server.workspace().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    for agent in ["claude", "codex"] {
        let request = json!({ "agent": agent, "prompt": "hello", "env": {"HOME": "/dev/null"} });
        said(&server, request).await;
    }
}

#[tokio::test]
async fn a_file_that_would_fill_the_memory_fails_the_turn() {
    let home = Home::new("large");
    let server = with_stand_ins(&home, "").await;
    write(&server.workspace().join("mcp.json"), "{}");
    let file = std::fs::File::options()
        .write(true)
        .open(server.workspace().join("mcp.json"));
    file.unwrap().set_len(1 << 40).unwrap();
    let id = server.create(json!({ "agent": "claude", "prompt": "hello" })).await;
    let session = server.settled(&id).await;
    assert_eq!(session["turns"][0]["cause"], "spawn_failed", "{session}");
    let error = session["turns"][0]["error"].as_str().unwrap();
    assert!(error.contains("mcp.json") && error.contains("1048576 bytes"), "{error}");
}
