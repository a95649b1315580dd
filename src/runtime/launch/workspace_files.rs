//! Workspace configuration files: instructions, skills and MCP servers for any agent, searched before a turn starts.
//!
//! The working directory comes first, then the workspace, then the agent's home.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::runtime::error::RuntimeError;
use crate::runtime::launch::mcp_file::{parse_servers, read_small};
use promptd_agents::WorkspaceFiles;
use promptd_model::McpServer;

/// Where tools keep skills; an agent reads one or two of these.
const SKILLS: [&str; 3] = ["skills", ".agents/skills", ".claude/skills"];

/// Names of the file with `{"mcpServers":{…}}`.
const MCP_FILES: [&str; 2] = ["mcp.json", ".mcp.json"];

/// A `config.toml` with none of these keys at its top belongs to another tool: many have a file of this name.
///
/// From codex's configuration reference, <https://developers.openai.com/codex/config-reference>.
const CODEX_KEYS: [&str; 8] = [
    "approval_policy",
    "mcp_servers",
    "model_provider",
    "model_providers",
    "model_reasoning_effort",
    "profiles",
    "projects",
    "sandbox_mode",
];

/// The folders of one agent.
pub(crate) struct WorkspaceFolders<'a> {
    pub(crate) cwd: &'a Path,
    pub(crate) workspace: &'a Path,
    /// The agent's variables, as it will have them.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a path is a link that we made for a turn.
    pub(crate) is_our_link: &'a dyn Fn(&Path) -> bool,
}

impl WorkspaceFolders<'_> {
    fn home(&self) -> Option<PathBuf> {
        (self.variable)("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
    }

    /// The nearest first, each once.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.cwd.to_owned()];
        for folder in [Some(self.workspace.to_owned()), self.home()].into_iter().flatten() {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }

    /// The files for any agent.
    pub(crate) fn find(&self) -> WorkspaceFiles {
        let folders = self.folders();
        let home = self.home();
        let codex_home = match (self.variable)("CODEX_HOME") {
            Some(folder) => Some(PathBuf::from(folder)),
            None => home.as_ref().map(|home| home.join(".codex")),
        };
        let nearest = |name: &str, is_right: fn(&Path) -> bool| {
            let mut paths = folders.iter().map(|folder| folder.join(name));
            paths.find(|path| is_right(path))
        };
        let skills = folders.iter().flat_map(|folder| SKILLS.map(|name| folder.join(name)));
        let skills = skills.flat_map(|folder| skills_in(&folder));
        WorkspaceFiles {
            agents_md: nearest("AGENTS.md", Path::is_file),
            codex_config: nearest("config.toml", is_for_codex),
            skills: skills.filter(|skill| !(self.is_our_link)(skill)).collect(),
            home: home.filter(|home| !in_repository(home)),
            codex_home: codex_home.filter(|home| home.is_absolute() && !in_repository(home)),
        }
    }

    /// The servers of all files, those of nearer ones over those of farther ones.
    ///
    /// # Errors
    /// Where a file cannot be read, or is not what it has to be.
    pub(crate) fn mcp_servers(&self) -> Result<BTreeMap<String, McpServer>, RuntimeError> {
        let mut servers = BTreeMap::new();
        for folder in self.folders() {
            for path in MCP_FILES.map(|name| folder.join(name)) {
                let found = match read_small(&path) {
                    None => continue,
                    Some(Ok(text)) => parse_servers(&text, self.variable),
                    Some(Err(error)) => Err(format!("it cannot be read ({error}); make it readable, or remove it")),
                };
                let found = found.map_err(|problem| RuntimeError::WrongMounted { path, problem })?;
                for (name, server) in found {
                    servers.entry(name).or_insert(server);
                }
            }
        }
        Ok(servers)
    }
}

/// In the order of their names, so that a turn is started like the one before.
fn skills_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut skills: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    skills.retain(|skill| skill.join("SKILL.md").is_file());
    skills.sort();
    skills
}

fn is_for_codex(path: &Path) -> bool {
    let text = read_small(path).and_then(Result::ok);
    let table = text.and_then(|text| text.parse::<toml::Table>().ok());
    table.is_some_and(|table| table.keys().any(|key| CODEX_KEYS.contains(&key.as_str())))
}

fn in_repository(folder: &Path) -> bool {
    folder.ancestors().any(|folder| folder.join(".git").exists())
}
