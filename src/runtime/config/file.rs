//! `config.toml`: a table of spanned values, read key by key so that every error has its line.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::{Environment, Layer, mcp, sinks, value};
use crate::runtime::settings::ConfiguredAgent;
use promptd_agents::Format;
use promptd_model::{Limits, McpServer, PermissionMode, SinkRequest, nearest};

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct FileLayer {
    pub(super) layer: Layer,
    pub(super) timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) permission: Option<PermissionMode>,
    pub(super) limits: Limits,
    pub(super) agents: BTreeMap<String, ConfiguredAgent>,
    pub(super) sinks: Vec<SinkRequest>,
    pub(super) mcp_servers: BTreeMap<String, McpServer>,
}

/// Reads the file's text.
pub(super) fn parse(path: &Path, text: &str, env: &Environment) -> Result<FileLayer, ConfigError> {
    let document = DeTable::parse(text).map_err(|error| {
        let (line, column) = place(text, error.span().map_or(0, |span| span.start));
        ConfigError::Syntax {
            path: path.to_owned(),
            line,
            column,
            message: error.message().to_owned(),
        }
    })?;
    let file = Source { path, text, env };
    let mut top = Section::new(file, "", document.get_ref());
    let mut layer = FileLayer {
        layer: Layer {
            listen: top.get("listen", listen)?,
            workspace: top.get("workspace", absolute_path)?,
            auth: top.get("auth", |item| value::auth(&item.origin, item.text()?))?,
            insecure_public: top.get("insecure_public", Item::boolean)?,
            default_agent: None,
            grace: top.get("grace", Item::seconds)?,
            stop_agents: top.get("stop_agents", Item::boolean)?,
        },
        ..FileLayer::default()
    };
    if let Some(mut defaults) = top.section("defaults")? {
        layer.layer.default_agent = defaults.get("agent", |item| item.text().map(str::to_owned))?;
        layer.timeout = defaults.get("timeout", Item::seconds)?;
        layer.idle_timeout = defaults.get("idle_timeout", Item::seconds)?;
        layer.permission = defaults.get("permission", |item| value::permission(&item.origin, item.text()?))?;
        defaults.finish()?;
    }
    if let Some(section) = top.section("limits")? {
        layer.limits = limits(section)?;
    }
    if let Some(section) = top.section("agents")? {
        layer.agents = section
            .sections()
            .map(|named| named.and_then(agent))
            .collect::<Result<_, _>>()?;
    }
    if let Some(section) = top.section("mcp_servers")? {
        layer.mcp_servers = mcp::read(section)?;
    }
    layer.sinks = top.get("sinks", sinks::read)?.unwrap_or_default();
    top.finish()?;
    Ok(layer)
}

fn listen(item: &Item<'_>) -> Result<Vec<super::Listen>, ConfigError> {
    item.one_or_many()?
        .into_iter()
        .map(|item| value::listen(&item.origin, item.text()?))
        .collect()
}

/// A relative path would depend on where the server was started, which a file cannot know.
fn absolute_path(item: &Item<'_>) -> Result<std::path::PathBuf, ConfigError> {
    let path = value::path(&item.origin, item.text()?, item.file.env)?;
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(item.expected("write an absolute path, or one that begins with ~/"))
    }
}

fn limits(mut section: Section<'_>) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let limits = Limits {
        running: section.get("running", Item::positive)?.unwrap_or(default.running),
        queued: section.get("queued", Item::number)?.unwrap_or(default.queued),
        body_bytes: section.get("body_bytes", Item::positive)?.unwrap_or(default.body_bytes),
        session_bytes: section
            .get("session_bytes", Item::positive)?
            .unwrap_or(default.session_bytes),
        total_bytes: section
            .get("total_bytes", Item::positive)?
            .unwrap_or(default.total_bytes),
        keep_days: section.get("keep_days", Item::number)?.unwrap_or(default.keep_days),
        min_free_bytes: section
            .get("min_free_bytes", Item::number)?
            .unwrap_or(default.min_free_bytes),
        rate_per_minute: section
            .get("rate_per_minute", Item::positive)?
            .or(default.rate_per_minute),
        rate_per_hour: section.get("rate_per_hour", Item::positive)?.or(default.rate_per_hour),
    };
    section.finish()?;
    Ok(limits)
}

fn agent((name, mut section): (String, Section<'_>)) -> Result<(String, ConfiguredAgent), ConfigError> {
    let command = section.get("command", |item| {
        let words = item
            .one_or_many()?
            .into_iter()
            .map(|item| item.text().map(str::to_owned));
        let words = words.collect::<Result<Vec<_>, _>>()?;
        let runnable = words.first().is_some_and(|program| !program.is_empty());
        if runnable {
            Ok(words)
        } else {
            Err(item.expected("write the program and its arguments, such as [\"my-agent\", \"--yes\"]"))
        }
    })?;
    let stream = section.get("stream", |item| value::stream(&item.origin, item.text()?))?;
    let stream = stream.unwrap_or(Format::lines());
    let prompt = section.get("prompt", |item| {
        if stream.is_dialog {
            return Err(item.expected("leave it out: an agent with stream = \"acp\" gets its prompt by the protocol"));
        }
        value::prompt_by(&item.origin, item.text()?)
    })?;
    let agent = ConfiguredAgent {
        command: command.ok_or_else(|| {
            section.lacks(
                "command",
                "write the program and its arguments, such as command = [\"my-agent\", \"--yes\"]",
            )
        })?,
        prompt: prompt.unwrap_or_default(),
        stream,
        env: section.get("env", environment)?.unwrap_or_default(),
    };
    section.finish()?;
    Ok((name, agent))
}

pub(super) fn environment(item: &Item<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let table = item
        .value
        .as_table()
        .ok_or_else(|| item.expected("write a table of strings, such as { LANG = \"C.UTF-8\" }"))?;
    let entries = table.iter().map(|(name, value)| {
        let item = item.file.item(&format!("{}.{}", item.key, name.get_ref()), value);
        // The value may be a secret, so that an error tells its type only.
        match item.value.as_str() {
            Some(text) => Ok((name.get_ref().to_string(), text.to_owned())),
            None => Err(item.wrong_type("write it as a string, in quotes")),
        }
    });
    entries.collect()
}

#[derive(Clone, Copy)]
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    env: &'a Environment,
}

impl<'a> Source<'a> {
    fn origin(self, key: &str, at: usize) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            line: place(self.text, at).0,
            key: key.to_owned(),
        }
    }

    fn item(self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        Item {
            file: self,
            key: key.to_owned(),
            origin: self.origin(key, value.span().start),
            value: value.get_ref(),
        }
    }
}

/// Line and column of a byte, beginning with 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before
        .chars()
        .rev()
        .take_while(|&char| char != '\n')
        .count()
        .saturating_add(1);
    (line, column)
}

/// A table of the file, which remembers the keys it was asked for.
pub(super) struct Section<'a> {
    file: Source<'a>,
    /// With its dot: `limits.`; empty at the top.
    prefix: String,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn new(file: Source<'a>, prefix: impl Into<String>, table: &'a DeTable<'a>) -> Self {
        Self {
            file,
            prefix: prefix.into(),
            table,
            known: Vec::new(),
        }
    }

    pub(super) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item<'a>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.known.push(key);
        let value = self.table.get(key);
        value
            .map(|value| read(&self.file.item(&format!("{}{key}", self.prefix), value)))
            .transpose()
    }

    fn section(&mut self, key: &'static str) -> Result<Option<Section<'a>>, ConfigError> {
        self.get(key, Item::section)
    }

    /// All entries as sections, whatever their names.
    pub(super) fn sections(self) -> impl Iterator<Item = Result<(String, Section<'a>), ConfigError>> {
        self.table.iter().map(move |(name, value)| {
            let item = self.file.item(&format!("{}{}", self.prefix, name.get_ref()), value);
            Ok((name.get_ref().to_string(), item.section()?))
        })
    }

    /// Refuses keys that nobody asked for.
    pub(super) fn finish(&self) -> Result<(), ConfigError> {
        let unknown = self
            .table
            .iter()
            .map(|(key, _)| key)
            .find(|key| !self.known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown else { return Ok(()) };
        let hint = match nearest(key.get_ref(), self.known.iter().copied()) {
            Some(meant) => format!("did you mean {}{meant}?", self.prefix),
            None => format!("known here are {}", self.known.join(", ")),
        };
        let origin = self
            .file
            .origin(&format!("{}{}", self.prefix, key.get_ref()), key.span().start);
        Err(ConfigError::UnknownKey { origin, hint })
    }

    pub(super) fn lacks(&self, key: &str, expected: &str) -> ConfigError {
        value::wrong(&self.origin(&format!("{}{key}", self.prefix)), "missing", expected)
    }

    /// The section as a whole makes no sense.
    pub(super) fn not_usable(&self, expected: &str) -> ConfigError {
        value::wrong(&self.origin(self.prefix.trim_end_matches('.')), "not usable", expected)
    }

    /// Where it begins: the keys know where they stand, their table may be spread over the file.
    fn origin(&self, key: &str) -> Origin {
        let places = self.table.iter().map(|(key, _)| key.span().start);
        self.file.origin(key, places.min().unwrap_or(self.file.text.len()))
    }
}

/// A value of the file.
pub(super) struct Item<'a> {
    file: Source<'a>,
    key: String,
    pub(super) origin: Origin,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Item<'a> {
    pub(super) fn expected(&self, expected: &str) -> ConfigError {
        let value = match self.value {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                format!("of type {}", self.value.type_str())
            }
        };
        value::wrong(&self.origin, value, expected)
    }

    /// An error that does not repeat the value, which may be a secret.
    pub(super) fn wrong_type(&self, expected: &str) -> ConfigError {
        value::wrong(&self.origin, format!("of type {}", self.value.type_str()), expected)
    }

    pub(super) fn text(&self) -> Result<&'a str, ConfigError> {
        self.value
            .as_str()
            .ok_or_else(|| self.expected("write it as a string, in quotes"))
    }

    pub(super) fn boolean(&self) -> Result<bool, ConfigError> {
        self.value
            .as_bool()
            .ok_or_else(|| self.expected("write true or false, without quotes"))
    }

    fn number<T: TryFrom<u64>>(&self) -> Result<T, ConfigError> {
        let number = self
            .value
            .as_integer()
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.expected("write a whole number, 0 or more, without quotes"))
    }

    fn positive<T: TryFrom<u64> + PartialEq + Default>(&self) -> Result<T, ConfigError> {
        let number = self.number()?;
        if number == T::default() {
            Err(self.expected("it has to be 1 or more"))
        } else {
            Ok(number)
        }
    }

    fn seconds(&self) -> Result<Duration, ConfigError> {
        let text = match self.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return Err(self.expected("write seconds as a number, such as 10 or 0.5")),
        };
        value::seconds(&self.origin, text.parse().unwrap_or(f64::NAN), text)
    }

    pub(super) fn one_or_many(&self) -> Result<Vec<Item<'a>>, ConfigError> {
        match self.value {
            DeValue::Array(items) => Ok(items.iter().map(|value| self.file.item(&self.key, value)).collect()),
            DeValue::String(_) => Ok(vec![Item {
                file: self.file,
                key: self.key.clone(),
                origin: self.origin.clone(),
                value: self.value,
            }]),
            _ => Err(self.expected("write a string, or a list of them")),
        }
    }

    /// The tables of a list: `[[key]]`, each with what stands there.
    pub(super) fn sections(&self) -> Result<Vec<(Item<'a>, Section<'a>)>, ConfigError> {
        let tables = self
            .value
            .as_array()
            .ok_or_else(|| self.expected(&format!("this is a list of sections: write [[{}]]", self.key)))?;
        let sections = tables.iter().map(|value| {
            let item = self.file.item(&self.key, value);
            let section = item.section()?;
            Ok((item, section))
        });
        sections.collect()
    }

    fn section(&self) -> Result<Section<'a>, ConfigError> {
        let table = self
            .value
            .as_table()
            .ok_or_else(|| self.expected(&format!("this is a section: write [{}]", self.key)))?;
        Ok(Section::new(self.file, format!("{}.", self.key), table))
    }
}
