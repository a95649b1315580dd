//! Facts about the session, retries and compactions as ACP updates, for formats that report them in their own words.

use agent_client_protocol_schema::v1::{
    AvailableCommand, AvailableCommandsUpdate, CompactionStatus, CompactionUpdate, ConfigOptionUpdate,
    CurrentModeUpdate, NoticeSeverity, SessionConfigOption, SessionConfigOptionCategory, SessionConfigSelectOption,
    SessionInfoUpdate, SessionUpdate,
};
use serde_json::{Value, json};

use super::cause;
use super::update::Update;
use promptd_model::Cause;

/// The commands that a prompt may begin with.
pub(crate) fn commands<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Update> {
    let commands: Vec<_> = names.into_iter().map(|name| AvailableCommand::new(name, "")).collect();
    let update = SessionUpdate::AvailableCommandsUpdate(AvailableCommandsUpdate::new(commands.clone()));
    (!commands.is_empty()).then(|| update.into())
}

/// The mode that the agent is in.
pub(crate) fn mode(id: &str) -> Option<Update> {
    let update = SessionUpdate::CurrentModeUpdate(CurrentModeUpdate::new(id.to_owned()));
    (!id.is_empty()).then(|| update.into())
}

/// The model that answers. Which others there are is not known.
pub(crate) fn model(id: &str) -> Option<Update> {
    model_of(id, [])
}

/// The model that answers, and those that can be chosen, as ids and names.
pub(crate) fn model_of<'a>(id: &str, choices: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Update> {
    let choice = |(id, name): (&str, &str)| SessionConfigSelectOption::new(id.to_owned(), name);
    let mut choices: Vec<_> = choices.into_iter().map(choice).collect();
    if choices.is_empty() {
        choices.push(choice((id, id)));
    }
    let option = SessionConfigOption::select("model", "Model", id.to_owned(), choices);
    let option = option.category(SessionConfigOptionCategory::Model);
    let update = SessionUpdate::ConfigOptionUpdate(ConfigOptionUpdate::new(vec![option]));
    (!id.is_empty()).then(|| update.into())
}

/// The title of the session.
pub(crate) fn title(title: &str) -> Option<Update> {
    let update = SessionUpdate::SessionInfoUpdate(SessionInfoUpdate::new().title(title.to_owned()));
    (!title.is_empty()).then(|| update.into())
}

/// A compaction of the context.
pub(crate) fn compaction(id: &str, status: CompactionStatus, error: &str) -> Update {
    let update = CompactionUpdate::new(id.to_owned(), status);
    let update = if error.is_empty() {
        update
    } else {
        update.error(error.to_owned())
    };
    SessionUpdate::CompactionUpdate(update).into()
}

/// A request to the model that failed and is made again.
#[derive(Default)]
pub(crate) struct Retry<'a> {
    /// The number of the retry; the first one is 1.
    pub(crate) attempt: Option<u64>,
    pub(crate) max_attempts: Option<u64>,
    /// Milliseconds until the retry.
    pub(crate) delay: Option<u64>,
    /// The HTTP status of the failed request.
    pub(crate) status: Option<u16>,
    /// Why it failed, in the agent's words.
    pub(crate) error: &'a str,
    /// The connection failed.
    pub(crate) is_network: bool,
}

impl Retry<'_> {
    /// It as an update: a notice whose `_meta.retry` has the facts.
    pub(crate) fn update(&self) -> Update {
        let cause = cause::of_code(self.error).unwrap_or_else(|| cause::classify(self.status, self.error));
        let is_network = cause == Cause::AgentError && self.is_network;
        let cause = if is_network { Cause::Network } else { cause };
        let attempt = match (self.attempt, self.max_attempts) {
            (Some(attempt), Some(max)) => format!(", attempt {attempt} of {max}"),
            (Some(attempt), None) => format!(", attempt {attempt}"),
            (None, _) => String::new(),
        };
        let description = match self.status {
            Some(status) if !self.error.contains(&status.to_string()) => {
                format!("{} (HTTP {status})", self.error).trim().to_owned()
            }
            Some(_) | None => self.error.to_owned(),
        };
        let mut facts = json!({ "cause": cause });
        if let Value::Object(facts) = &mut facts {
            let mut add = |key: &str, value: Option<Value>| value.and_then(|value| facts.insert(key.to_owned(), value));
            add("attempt", self.attempt.map(Value::from));
            add("max_attempts", self.max_attempts.map(Value::from));
            add("delay_ms", self.delay.map(Value::from));
            add("status", self.status.map(Value::from));
        }
        let title = format!("{} The request is made again{attempt}.", what_failed(cause));
        Update::notice(NoticeSeverity::Warning, title, &description).with_meta("retry", facts)
    }
}

fn what_failed(cause: Cause) -> &'static str {
    match cause {
        Cause::Auth => "The model's API refuses the key or login.",
        Cause::Quota => "The model's API refuses more requests for now.",
        Cause::Overloaded => "The model's API is overloaded.",
        Cause::Network => "The connection to the model's API failed.",
        _ => "A request to the model failed.",
    }
}

/// A warning of the agent.
pub(crate) fn warning(text: &str) -> Option<Update> {
    let mut lines = text.trim().splitn(2, '\n');
    let title = lines.next().unwrap_or_default().trim();
    let rest = lines.next().unwrap_or_default().trim();
    (!title.is_empty()).then(|| Update::notice(NoticeSeverity::Warning, title, rest))
}
