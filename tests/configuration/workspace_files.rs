//! Workspace configuration files are shown to each agent in its own way: nothing is overwritten, nothing is
//! written where the agent works, and no secret leaves.

use std::os::unix::fs::symlink;

use serde_json::json;

use support::stand_ins::{Home, said, skill, tree, with_stand_ins, write};

#[tokio::test]
async fn workspace_files_are_shown_without_overwriting() {
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

    let (_, codex) = said(&server, json!({ "agent": "codex", "prompt": "hello" })).await;
    for (at, to) in [
        (".agents/skills/own", "skills/own"),
        (".codex/config.toml", "config.toml"),
    ] {
        let link = format!("{} -> {}\n", home.0.join(at).display(), workspace.join(to).display());
        assert!(codex.contains(&link), "{codex}");
    }
    said(&server, json!({ "agent": "gemini", "prompt": "hello" })).await;
    assert_eq!(tree(&home.0), before);
    assert_eq!(tree(&workspace), worked_in);
}

#[tokio::test]
async fn repository_home_gets_no_links() {
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
    let request = json!({ "agent": "codex", "prompt": "hello", "env": {"HOME": other.text()} });
    let (_, codex) = said(&server, request).await;
    let (_, links) = codex.split_once("\nlinks\n").unwrap();
    let link = other.0.join(".agents/skills/own");
    let to = workspace.join("skills/own");
    assert_eq!(links, format!("{} -> {}\n", link.display(), to.display()));
}

#[tokio::test]
async fn stale_link_is_renewed_in_the_next_turn() {
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
async fn invalid_file_fails_the_turn_with_path_and_reason() {
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
    let error = records.iter().find_map(|record| record["error"].as_str()).unwrap();
    assert!(
        error.contains(&path.display().to_string()) && error.contains("one of them"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
    // Nobody else reads it.
    let id = server.shell("true").await;
    assert_eq!(server.settled(&id).await["status"], "completed");
}

#[tokio::test]
async fn secrets_from_mcp_files_are_masked_for_all_readers() {
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
async fn special_and_unreadable_files_are_ignored() {
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
async fn oversized_file_fails_the_turn() {
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
    let records = server.records(&id).await;
    let error = records.iter().find_map(|record| record["error"].as_str()).unwrap();
    assert!(error.contains("mcp.json") && error.contains("1048576 bytes"), "{error}");
}

#[tokio::test]
async fn sessions_see_only_their_own_files() {
    let home = Home::new("each");
    let server = with_stand_ins(&home, "").await;
    for folder in ["a", "b"] {
        let folder = server.workspace().join(folder);
        write(&folder.join("skills/own/SKILL.md"), &skill("own", "of this folder"));
        write(&folder.join("config.toml"), "model_provider = \"mine\"\n");
    }
    for name in ["a", "b", "a"] {
        let (id, codex) = said(&server, json!({ "agent": "codex", "prompt": "hello", "cwd": name })).await;
        let folder = server.workspace().join(name);
        for to in ["skills/own", "config.toml"] {
            let to = format!(" -> {}\n", folder.join(to).display());
            assert!(codex.contains(&to), "{name}: {codex}");
        }
        assert_eq!(codex.matches(" -> ").count(), 2, "{name}: {codex}");
        server
            .post(&format!("/v1/sessions/{id}/prompts"), json!({ "prompt": "again" }))
            .await;
        server.settled(&id).await;
        let output = String::from_utf8(server.output(&id, "stdout").await).unwrap();
        assert_eq!(output.matches(" -> ").count(), 4, "also in its second turn: {output}");
    }
}

#[tokio::test]
async fn links_are_removed_and_foreign_files_kept() {
    let home = Home::new("dies");
    let mut server = with_stand_ins(&home, "").await;
    write(
        &home.0.join("programs/codex"),
        "#!/bin/sh\nuntil [ -e go ]; do sleep 0.02; done\n",
    );
    let workspace = server.workspace();
    write(
        &workspace.join("skills/own/SKILL.md"),
        &skill("own", "in the workspace"),
    );
    write(&workspace.join("config.toml"), "model_provider = \"mine\"\n");
    let (skill, config) = (home.0.join(".agents/skills/own"), home.0.join(".codex/config.toml"));
    let id = server.create(json!({ "agent": "codex", "prompt": "hello" })).await;
    server.session_when(&id, |session| session["status"] == "running").await;
    assert!(skill.is_symlink() && config.is_symlink());
    std::fs::remove_file(&config).unwrap();
    symlink("/their/own", &config).unwrap();
    server.kill();
    server.start_again().await;
    assert!(skill.is_symlink(), "the turn goes on");
    server.touch("go");
    server.settled(&id).await;
    assert!(!skill.is_symlink());
    assert_eq!(config.read_link().unwrap(), std::path::Path::new("/their/own"));
}
