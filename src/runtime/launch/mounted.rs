//! What stands ready in an agent's folders: looked for when a turn is about to start, and linked where it says.
//!
//! The working directory comes first, then the workspace, then the agent's home. Nothing is written but links: in the
//! session's folder, and by [`super::links`] in homes, where there is nothing yet and that are in no repository.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::Deserialize;

use crate::runtime::RuntimeError;
use promptd_agents::{Link, WorkspaceFiles};
use promptd_model::{McpServer, len64};

/// Where tools of today keep skills; an agent looks into one or two of these.
const SKILLS: [&str; 3] = ["skills", ".agents/skills", ".claude/skills"];

/// Names of the file with `{"mcpServers":{…}}`.
const MCP_FILES: [&str; 2] = ["mcp.json", ".mcp.json"];

/// A `config.toml` with none of these at its top is somebody else's: many tools have one of this name.
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

/// The largest file that is read, in bytes: agents may write where these stand.
const MOST: u64 = 1 << 20;

/// The folders of one agent.
pub(crate) struct Places<'a> {
    pub(crate) cwd: &'a Path,
    pub(crate) workspace: &'a Path,
    /// The agent's variables, as it will have them.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a skill is there only because a turn was led to it.
    pub(crate) is_ours: &'a dyn Fn(&Path) -> bool,
}

impl Places<'_> {
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

    /// What an agent could be shown.
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
            codex_config: nearest("config.toml", is_codexs),
            skills: skills.filter(|skill| !(self.is_ours)(skill)).collect(),
            home: home.filter(|home| !in_repository(home)),
            codex_home: codex_home.filter(|home| home.is_absolute() && !in_repository(home)),
        }
    }

    /// The servers of all files, those of nearer ones over those of farther ones.
    ///
    /// # Errors
    /// Where a file cannot be read, or is not what it has to be.
    pub(crate) fn servers(&self) -> Result<BTreeMap<String, McpServer>, RuntimeError> {
        let mut servers = BTreeMap::new();
        for folder in self.folders() {
            for path in MCP_FILES.map(|name| folder.join(name)) {
                let found = match read(&path) {
                    None => continue,
                    Some(Ok(text)) => read_servers(&text, self.variable),
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

/// The text of a file; `None` where there is none, or nobody may look. What is no file is none, and is not waited for: a
/// pipe would never end.
fn read(path: &Path) -> Option<io::Result<String>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let read = || {
        let no_wait = OFlag::O_NONBLOCK.bits();
        let file = OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
        let mut text = String::new();
        file.take(MOST.saturating_add(1)).read_to_string(&mut text)?;
        if len64(text.as_bytes()) > MOST {
            return Err(io::Error::new(
                ErrorKind::FileTooLarge,
                format!("it has more than {MOST} bytes"),
            ));
        }
        Ok(text)
    };
    Some(read())
}

fn is_codexs(path: &Path) -> bool {
    let text = read(path).and_then(Result::ok);
    let table = text.and_then(|text| text.parse::<toml::Table>().ok());
    table.is_some_and(|table| table.keys().any(|key| CODEX_KEYS.contains(&key.as_str())))
}

fn in_repository(folder: &Path) -> bool {
    folder.ancestors().any(|folder| folder.join(".git").exists())
}

/// The file as claude, cursor and others share it.
#[derive(Deserialize)]
struct McpFile {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, FileServer>,
}

/// One of its servers; tools have fields of their own, which mean nothing to others.
#[derive(Deserialize)]
struct FileServer {
    #[serde(default)]
    disabled: bool,
    #[serde(rename = "type")]
    transport: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// An error tells where the file is wrong, and no value that stands there.
fn read_servers(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<BTreeMap<String, McpServer>, String> {
    let file: McpFile = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!(
            "line {line}, column {column}: write {{\"mcpServers\":{{\"NAME\":{{\"command\":\"…\",\"args\":[],\"env\":{{}}}}}}}}, \
             or \"url\" and \"headers\" for a server elsewhere"
        )
    })?;
    let fill = |text: String| fill(&text, variable);
    let fill_all =
        |texts: BTreeMap<String, String>| texts.into_iter().map(|(name, value)| (name, fill(value))).collect();
    let mut servers = BTreeMap::new();
    for (name, server) in file.servers.into_iter().filter(|(_, server)| !server.disabled) {
        let transport = match server.transport.as_deref() {
            // The specification's own name of it.
            Some("streamable-http" | "streamableHttp") => Some("http"),
            other => other,
        };
        let transport = transport.map(|word| serde_json::from_value(word.into())).transpose();
        let transport =
            transport.map_err(|_| format!("the MCP server {name:?} has an unknown type; use stdio, http or sse"))?;
        let server = McpServer {
            transport,
            command: server.command.map(fill),
            args: server.args.into_iter().map(fill).collect(),
            env: fill_all(server.env),
            url: server.url.map(fill),
            headers: fill_all(server.headers),
        };
        servers.insert(name, server);
    }
    McpServer::check_all(&servers).map_err(|wrong| wrong.to_string())?;
    Ok(servers)
}

/// Puts variables in, as files of this kind have them: `${NAME}` and `${NAME:-default}`. What there is not stays.
fn fill(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("${") {
        filled.push_str(before);
        let Some((inside, after)) = from.split_once('}') else {
            filled.push_str("${");
            rest = from;
            continue;
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inside, None),
        };
        let value = variable(name).or(default);
        filled.push_str(&value.unwrap_or_else(|| format!("${{{inside}}}")));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// Makes links in the session's own folder, anew for every turn.
pub(crate) fn link(links: &[&Link]) -> Result<(), RuntimeError> {
    for Link { at, to } in links {
        let failed = |source| RuntimeError::Io {
            path: at.clone(),
            source,
        };
        remove(at).map_err(failed)?;
        if let Some(folder) = at.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        std::os::unix::fs::symlink(to, at).map_err(failed)?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret ${TOKEN}".to_owned())
    }

    #[test]
    fn variables_of_a_file_are_put_in_once() {
        for (text, expected) in [
            ("a ${TOKEN} b", "a s3cret ${TOKEN} b"),
            ("${NONE:-x}${NONE}${TOKEN:-y}", "x${NONE}s3cret ${TOKEN}"),
            ("$TOKEN ${TOKEN", "$TOKEN ${TOKEN"),
            ("${${TOKEN}", "${${TOKEN}"),
        ] {
            assert_eq!(fill(text, &variable), expected, "{text}");
        }
    }

    #[test]
    fn a_file_for_other_tools_is_read_with_what_it_shares_with_ours() {
        let text = r#"{"mcpServers": {
            "lab": {"command": "lab", "env": {"T": "${TOKEN}"}, "timeout": 3, "autoApprove": []},
            "docs": {"type": "streamable-http", "url": "https://docs/"},
            "off": {"disabled": true, "command": ""}
        }, "other": 1}"#;
        let servers = read_servers(text, &variable).unwrap();
        let expected = serde_json::json!({
            "docs": {"type": "http", "url": "https://docs/"},
            "lab": {"command": "lab", "env": {"T": "s3cret ${TOKEN}"}},
        });
        assert_eq!(serde_json::to_value(servers).unwrap(), expected);
    }

    #[test]
    fn a_wrong_file_says_where_and_repeats_nothing() {
        for (text, says) in [
            ("{", "line 1, column 1"),
            (r#"{"servers":{}}"#, "mcpServers"),
            (r#"{"mcpServers":{"lab":{"env":{"T":["s3cret"]}}}}"#, "line 1"),
            (r#"{"mcpServers":{"lab":{"type":"s3cret","command":"x"}}}"#, "\"lab\""),
            (r#"{"mcpServers":{"lab":{}}}"#, "give `command`"),
        ] {
            let error = read_servers(text, &variable).unwrap_err();
            assert!(error.contains(says) && !error.contains("s3cret"), "{error}");
        }
    }
}
