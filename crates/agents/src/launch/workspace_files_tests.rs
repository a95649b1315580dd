//! Which files each agent is pointed at, and which it finds by itself.

use super::*;
use crate::WorkspaceFiles;
use crate::tests::{launch, plain};

fn link(at: &str, to: &str) -> Link {
    Link {
        at: at.into(),
        to: to.into(),
    }
}

fn found(agents_md: &str, skills: &[&str]) -> WorkspaceFiles {
    WorkspaceFiles {
        home: Some("/home/user".into()),
        codex_home: Some("/home/user/.codex".into()),
        agents_md: Some(agents_md.into()),
        skills: skills.iter().map(PathBuf::from).collect(),
        codex_config: None,
    }
}

/// The words and links of a launch that it would not have without these files.
fn added(name: &str, files: &WorkspaceFiles) -> (String, Vec<Link>) {
    let request = TurnRequest {
        cwd: Path::new("/w/sub"),
        ..plain()
    };
    let (before, _) = launch(name, &request);
    let (line, launch) = launch(
        name,
        &TurnRequest {
            workspace_files: files,
            ..request
        },
    );
    let is_new = |word: &&str| !before.split(' ').any(|old| old == *word);
    (
        line.split(' ').filter(is_new).collect::<Vec<_>>().join(" "),
        launch.links,
    )
}

#[test]
fn files_that_agents_find_are_not_linked() {
    for name in ["claude", "codex", "gemini", "droid", "pi"] {
        let nothing = (String::new(), Vec::new());
        assert_eq!(added(name, &found("/w/sub/AGENTS.md", &[])), nothing, "{name}");
        let own = if name == "claude" { ".claude" } else { ".agents" };
        let skills = [format!("/w/sub/{own}/skills/a"), format!("/home/user/{own}/skills/b")];
        let skills = skills.each_ref().map(String::as_str);
        assert_eq!(added(name, &found("/w/sub/AGENTS.md", &skills)), nothing, "{name}");
    }
}

#[test]
fn agents_md_above_the_working_directory() {
    let files = found("/w/AGENTS.md", &[]);
    assert_eq!(added("claude", &files), (String::new(), Vec::new()));
    assert_eq!(added("pi", &files), (String::new(), Vec::new()));
    let droid = "--append-system-prompt-file /w/AGENTS.md".to_owned();
    assert_eq!(added("droid", &files), (droid, Vec::new()));
    assert_eq!(
        added("codex", &files),
        (r#"project_root_markers=["AGENTS.md"]"#.to_owned(), Vec::new())
    );
    assert_eq!(
        added("gemini", &files),
        (String::new(), vec![link("/s/mounted/AGENTS.md", "/w/AGENTS.md")])
    );
}

#[test]
fn agents_md_in_the_home() {
    let home = "/home/user/AGENTS.md";
    let files = found(home, &[]);
    let (line, links) = added("claude", &files);
    assert_eq!(line, format!("--append-system-prompt-file {home}"));
    assert!(links.is_empty());
    assert_eq!(added("pi", &files).0, format!("--append-system-prompt {home}"));
    assert_eq!(
        added("codex", &files),
        (String::new(), vec![link("/home/user/.codex/AGENTS.md", home)])
    );
    let request = TurnRequest {
        workspace_files: &files,
        ..plain()
    };
    let (_, gemini) = launch("gemini", &request);
    assert_eq!(gemini.links, [link("/s/mounted/AGENTS.md", home)]);
    let settings: serde_json::Value = serde_json::from_str(&gemini.files[0].1).unwrap();
    assert_eq!(
        settings["context"],
        serde_json::json!({"fileName": ["GEMINI.md", "AGENTS.md"], "includeDirectories": ["/s/mounted"],
                           "loadMemoryFromIncludeDirectories": true})
    );
}

#[test]
fn skills_are_linked_once_per_name() {
    let skills = [
        "/w/sub/skills/a",
        "/w/sub/.claude/skills/b",
        "/w/skills/a",
        "/w/.agents/skills/b",
        "/home/user/.agents/skills/c",
    ];
    let files = found("/w/sub/AGENTS.md", &skills);
    let (line, links) = added("claude", &files);
    assert_eq!(line, "--add-dir /s/mounted");
    assert_eq!(
        links,
        [
            link("/s/mounted/.claude/skills/a", "/w/sub/skills/a"),
            link("/s/mounted/.claude/skills/c", "/home/user/.agents/skills/c"),
        ]
    );
    for name in ["codex", "gemini", "droid", "pi"] {
        assert_eq!(
            added(name, &files).1,
            [
                link("/home/user/.agents/skills/a", "/w/sub/skills/a"),
                link("/home/user/.agents/skills/b", "/w/sub/.claude/skills/b"),
            ],
            "{name}"
        );
    }
}

#[test]
fn codex_configuration_is_linked_for_codex_only() {
    let mut files = found("/w/sub/AGENTS.md", &["/w/skills/a"]);
    files.codex_config = Some("/w/config.toml".into());
    assert_eq!(
        added("codex", &files).1[1],
        link("/home/user/.codex/config.toml", "/w/config.toml")
    );
    assert_eq!(added("gemini", &files).1.len(), 1);
    files.home = None;
    files.codex_home = None;
    assert_eq!(added("codex", &files).1, []);
    assert_eq!(added("gemini", &files).1, []);
}
