//! What stands ready: what each agent is shown, and what it is not because it finds it itself.

use super::super::tests::{launch, plain};
use super::*;

fn link(at: &str, to: &str) -> Link {
    Link {
        at: at.into(),
        to: to.into(),
    }
}

fn found(instructions: &str, skills: &[&str]) -> Mounted {
    Mounted {
        home: Some("/home/user".into()),
        codex_home: Some("/home/user/.codex".into()),
        instructions: Some(instructions.into()),
        skills: skills.iter().map(PathBuf::from).collect(),
        codex_config: None,
    }
}

/// What is new in a launch, as compared with the one where nothing was found.
fn shown(name: &str, mounted: &Mounted) -> (String, Vec<Link>) {
    let request = TurnRequest {
        cwd: Path::new("/w/sub"),
        ..plain()
    };
    let (before, _) = launch(name, &request);
    let (line, launch) = launch(name, &TurnRequest { mounted, ..request });
    let is_new = |word: &&str| !before.split(' ').any(|old| old == *word);
    (
        line.split(' ').filter(is_new).collect::<Vec<_>>().join(" "),
        launch.links,
    )
}

#[test]
fn what_every_agent_finds_by_itself_is_not_shown_again() {
    for name in ["claude", "codex", "gemini", "droid", "pi"] {
        let nothing = (String::new(), Vec::new());
        assert_eq!(shown(name, &found("/w/sub/AGENTS.md", &[])), nothing, "{name}");
        let own = if name == "claude" { ".claude" } else { ".agents" };
        let skills = [format!("/w/sub/{own}/skills/a"), format!("/home/user/{own}/skills/b")];
        let skills = skills.each_ref().map(String::as_str);
        assert_eq!(shown(name, &found("/w/sub/AGENTS.md", &skills)), nothing, "{name}");
    }
}

#[test]
fn instructions_above_the_working_directory_reach_each_in_its_own_way() {
    let mounted = found("/w/AGENTS.md", &[]);
    assert_eq!(shown("claude", &mounted), (String::new(), Vec::new()));
    assert_eq!(shown("pi", &mounted), (String::new(), Vec::new()));
    let droid = "--append-system-prompt-file /w/AGENTS.md".to_owned();
    assert_eq!(shown("droid", &mounted), (droid, Vec::new()));
    assert_eq!(
        shown("codex", &mounted),
        (r#"project_root_markers=["AGENTS.md"]"#.to_owned(), Vec::new())
    );
    assert_eq!(
        shown("gemini", &mounted),
        (String::new(), vec![link("/s/mounted/AGENTS.md", "/w/AGENTS.md")])
    );
}

#[test]
fn instructions_elsewhere_reach_each_in_its_own_way() {
    let home = "/home/user/AGENTS.md";
    let mounted = found(home, &[]);
    let (line, links) = shown("claude", &mounted);
    assert_eq!(line, format!("--append-system-prompt-file {home}"));
    assert!(links.is_empty());
    assert_eq!(shown("pi", &mounted).0, format!("--append-system-prompt {home}"));
    assert_eq!(
        shown("codex", &mounted),
        (String::new(), vec![link("/home/user/.codex/AGENTS.md", home)])
    );
    let request = TurnRequest {
        mounted: &mounted,
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
fn skills_are_linked_where_the_agent_looks_and_each_name_once() {
    let skills = [
        "/w/sub/skills/a",
        "/w/sub/.claude/skills/b",
        "/w/skills/a",
        "/w/.agents/skills/b",
        "/home/user/.agents/skills/c",
    ];
    let mounted = found("/w/sub/AGENTS.md", &skills);
    let (line, links) = shown("claude", &mounted);
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
            shown(name, &mounted).1,
            [
                link("/home/user/.agents/skills/a", "/w/sub/skills/a"),
                link("/home/user/.agents/skills/b", "/w/sub/.claude/skills/b"),
            ],
            "{name}"
        );
    }
}

#[test]
fn codexs_configuration_is_linked_for_codex_only_and_nothing_without_a_home() {
    let mut mounted = found("/w/sub/AGENTS.md", &["/w/skills/a"]);
    mounted.codex_config = Some("/w/config.toml".into());
    assert_eq!(
        shown("codex", &mounted).1[1],
        link("/home/user/.codex/config.toml", "/w/config.toml")
    );
    assert_eq!(shown("gemini", &mounted).1.len(), 1);
    mounted.home = None;
    mounted.codex_home = None;
    assert_eq!(shown("codex", &mounted).1, []);
    assert_eq!(shown("gemini", &mounted).1, []);
}
