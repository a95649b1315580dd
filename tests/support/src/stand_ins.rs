//! Agents that only say how they were started, and a home for them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Server, outside};

pub const TAKE_SERVERS: [&str; 6] = ["claude", "codex", "gemini", "qwen", "opencode", "copilot"];

/// A home that belongs to no repository, unlike the folders of other tests.
pub struct Home(pub PathBuf);

impl Home {
    pub fn new(name: &str) -> Self {
        Self(outside(name))
    }

    pub fn write(&self, name: &str, text: &str) {
        write(&self.0.join(name), text);
    }

    pub fn text(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

pub fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub fn skill(name: &str, description: &str) -> String {
    format!("---\nname: {name}\ndescription: {description}\n---\nDo it.\n")
}

/// All that is in a folder, links as what they lead to.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
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
pub fn stand_ins(programs: &Path) {
    for agent in TAKE_SERVERS {
        let path = programs.join(agent);
        write(
            &path,
            "#!/bin/sh\necho arguments\ntr '\\0' '\\n' < /proc/$$/cmdline\necho variables\nenv | cut -d= -f1\n\
             echo links\nfind \"$HOME\" -type l -printf '%p -> %l\\n' 2>&1\n",
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A server whose agents are stand-ins.
pub async fn with_stand_ins(home: &Home, config: &str) -> Server {
    let programs = home.0.join("programs");
    stand_ins(&programs);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let builder = Server::with().env("PATH", path).env("HOME", home.text());
    builder.config(config).start().await
}

/// Runs one turn; answers the session's id and what the stand-in said.
pub async fn said(server: &Server, request: Value) -> (String, String) {
    let id = server.create(request).await;
    server.settled(&id).await;
    let output = String::from_utf8(server.output(&id, "stdout").await).unwrap();
    assert!(output.contains("\nvariables\n"), "{output}");
    (id, output)
}
