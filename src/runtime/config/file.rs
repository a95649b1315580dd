//! `config.toml`: its structure, and errors that name the place and what would be right.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::error::ConfigError;
use super::values;
use crate::runtime::settings::{AuthMode, ConfiguredAgent, Listen};
use promptd_agents::{Format, PromptBy};
use promptd_model::{Limits, McpServer, PermissionMode, SinkRequest, Stdout, nearest};
use promptd_sinks::{Scope, Sink};

/// Sections with values that no message may repeat.
const SECRET: [&str; 3] = ["env", "mcp_servers", "sinks"];

/// The file's content; `None` where it does not have a key.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    #[serde(deserialize_with = "values::one_or_many")]
    pub(super) listen: Vec<Listen>,
    #[serde(deserialize_with = "values::absolute_path")]
    pub(super) workspace: Option<PathBuf>,
    pub(super) auth: Option<AuthMode>,
    pub(super) insecure_public: Option<bool>,
    #[serde(deserialize_with = "values::seconds")]
    pub(super) grace: Option<Duration>,
    pub(super) stop_agents: Option<bool>,
    pub(super) defaults: Defaults,
    pub(super) limits: Limits,
    pub(super) agents: BTreeMap<String, Spanned<AgentTable>>,
    pub(super) mcp_servers: BTreeMap<String, Spanned<McpServer>>,
    pub(super) sinks: Vec<Spanned<SinkRequest>>,
}

/// What applies where a request says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) agent: Option<String>,
    #[serde(deserialize_with = "values::seconds")]
    pub(super) timeout: Option<Duration>,
    #[serde(deserialize_with = "values::seconds")]
    pub(super) idle_timeout: Option<Duration>,
    pub(super) permission: PermissionMode,
}

/// `[agents.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentTable {
    #[serde(deserialize_with = "values::command")]
    command: Vec<String>,
    #[serde(default = "Format::lines", deserialize_with = "values::format")]
    stream: &'static Format,
    prompt: Option<PromptBy>,
    ask_mode: Option<String>,
    #[serde(default)]
    stdout: Stdout,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl From<AgentTable> for ConfiguredAgent {
    fn from(table: AgentTable) -> Self {
        Self {
            command: table.command,
            prompt: table.prompt.unwrap_or_default(),
            stream: table.stream,
            stdout: table.stdout,
            ask_mode: table.ask_mode,
            env: table.env,
        }
    }
}

/// Reads the file's text.
pub(super) fn parse(path: &Path, text: &str) -> Result<ConfigFile, ConfigError> {
    let source = Source { path, text };
    let document = toml::Deserializer::parse(text).map_err(|error| source.syntax(&error))?;
    let file: ConfigFile = serde_path_to_error::deserialize(document).map_err(|error| {
        // `Spanned` marks itself as a field.
        let path = error.path().to_string().replace(".$__serde_spanned_private_value", "");
        source.invalid(&path, error.inner())
    })?;
    source.check(&file)?;
    Ok(file)
}

#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    /// Checks what concerns more than one value.
    fn check(self, file: &ConfigFile) -> Result<(), ConfigError> {
        for (name, agent) in &file.agents {
            let table = agent.get_ref();
            if table.stream.is_dialog && table.prompt.is_some() {
                let problem = format!(
                    "agents.{name}.prompt: leave it out; an agent with stream = \"acp\" gets its prompt by the protocol"
                );
                return Err(self.problem(&agent.span(), problem));
            }
        }
        for (name, agent) in &file.agents {
            let table = agent.get_ref();
            let problem = match &table.ask_mode {
                Some(_) if !table.stream.is_dialog => {
                    "leave it out; it is the mode in which an agent with stream = \"acp\" asks"
                }
                Some(mode) if mode.trim().is_empty() => "name a mode, or leave it out",
                _ => continue,
            };
            return Err(self.problem(&agent.span(), format!("agents.{name}.ask_mode: {problem}")));
        }
        for (name, server) in &file.mcp_servers {
            let one = BTreeMap::from([(name.clone(), server.get_ref().clone())]);
            McpServer::check_all(&one).map_err(|invalid| {
                self.problem(
                    &server.span(),
                    format!("mcp_servers.{name} cannot be used: {}", invalid.hint),
                )
            })?;
        }
        let sinks: Vec<_> = file.sinks.iter().map(|sink| sink.get_ref().clone()).collect();
        Sink::all(&sinks, Scope::Global).map(drop).map_err(|(index, error)| {
            let span = file.sinks.get(index).map_or(0..0, Spanned::span);
            self.problem(&span, format!("sinks: {} {}", error.field, error.problem))
        })
    }

    fn syntax(self, error: &toml::de::Error) -> ConfigError {
        let start = error.span().map_or(0, |span| span.start);
        let before = self.text.get(..start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        ConfigError::Syntax {
            path: self.path.to_owned(),
            line: self.line(start),
            column: column.saturating_add(1),
            message: error.message().to_owned(),
        }
    }

    /// A key or value that is not allowed. Serde's message says what it found, which may be secret, and what it expects.
    fn invalid(self, path: &str, error: &toml::de::Error) -> ConfigError {
        let message = error.message();
        let span = error.span().unwrap_or(0..0);
        let mut words = message.split('`').skip(1).step_by(2);
        let (found, known) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>());
        let nearest = nearest(found, known.iter().copied());
        if message.starts_with("missing field") {
            return self.problem(&span, format!("{path}: `{found}` is missing"));
        }
        if message.starts_with("unknown field") {
            let section = path.strip_suffix(found).unwrap_or(path);
            let hint = nearest.map_or_else(
                || format!("known here are {}", known.join(", ")),
                |nearest| format!("did you mean {section}{nearest}?"),
            );
            return self.problem(
                &span,
                format!("{section}{found} is no key of the configuration; {hint}"),
            );
        }
        let is_secret = path.split(['.', '[']).any(|key| SECRET.contains(&key));
        let value = self
            .text
            .get(span.clone())
            .filter(|text| !is_secret && !text.starts_with(['[', '{']) && !text.contains('\n'));
        let value = value.map_or_else(String::new, |text| format!(" is {text}"));
        let expected = message.split_once(", expected ").map_or_else(
            || message.to_owned(),
            |(_, expected)| format!("expected {}", describe(expected, path)),
        );
        let hint = nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"));
        self.problem(&span, format!("{path}{value}: {expected}{hint}"))
    }

    fn problem(self, span: &Range<usize>, problem: String) -> ConfigError {
        ConfigError::File {
            path: self.path.to_owned(),
            line: self.line(span.start),
            problem,
        }
    }

    fn line(self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        before.matches('\n').count().saturating_add(1)
    }
}

/// What serde expects, as a user of TOML knows it.
fn describe(expected: &str, path: &str) -> String {
    match expected {
        "a string" => "a string, in quotes".to_owned(),
        "a boolean" => "true or false, without quotes".to_owned(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more, without quotes".to_owned(),
        "a sequence" => format!("a list, or [[{path}]] if it has sections"),
        "a map" => format!("a section: write [{path}]"),
        _ if expected.starts_with("struct ") => format!("a section: write [{path}]"),
        _ => expected.to_owned(),
    }
}
