//! Recordings of real agents, played again by a program that stands in for them.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use super::{Builder, repository};

/// The agents of which there are recordings.
const AGENTS: [&str; 8] = [
    "claude", "codex", "copilot", "droid", "gemini", "opencode", "pi", "qwen",
];

/// What a real agent once did.
pub struct Recording {
    pub name: String,
    pub path: PathBuf,
    pub text: String,
}

impl Recording {
    pub fn agent(&self) -> &str {
        self.name.split('-').next().unwrap()
    }

    /// Whether it is a dialog; else it holds what the agent wrote, and nothing else.
    pub fn is_dialog(&self) -> bool {
        self.name.contains("-ask-")
    }

    /// What a dialog holds, event by event.
    pub fn events(&self) -> impl Iterator<Item = Value> {
        self.text.lines().map(|line| serde_json::from_str(line).unwrap())
    }
}

/// All of them, in the order of their names.
pub fn recordings() -> Vec<Recording> {
    let files = std::fs::read_dir(repository().join("tests/agents/recorded")).unwrap();
    let recordings = files.flatten().map(|file| Recording {
        name: file.path().file_stem().unwrap().to_str().unwrap().to_owned(),
        text: std::fs::read_to_string(file.path()).unwrap(),
        path: file.path(),
    });
    let mut recordings: Vec<_> = recordings.collect();
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    recordings
}

impl Builder {
    /// With programs for all agents that play what `REPLAY` in a request's `env` says; see `programs/replay.rs`.
    pub fn replaying(self, programs: &std::path::Path) -> Self {
        for agent in AGENTS {
            symlink(env!("REPLAY"), programs.join(agent)).unwrap();
        }
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        self.env("PATH", path).env("HOME", programs.display().to_string())
    }
}
