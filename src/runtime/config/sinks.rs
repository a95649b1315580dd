//! `[[sinks]]`: sinks of all sessions, in the words of a request.

use super::error::ConfigError;
use super::file::{Item, Section, environment};
use super::value;
use promptd_model::{SinkKind, SinkRequest, View, WebhookEvent, WebhookFormat};
use promptd_sinks::{Scope, Sink};

/// Reads the list, and checks each as a request's is checked.
pub(super) fn read(item: &Item<'_>) -> Result<Vec<SinkRequest>, ConfigError> {
    let sections = item.sections()?;
    let requests = sections.into_iter().map(|(_, section)| sink(section));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    match Sink::all(&requests, Scope::Global) {
        Ok(_) => Ok(requests),
        Err((place, error)) => {
            let sections = item.sections()?;
            let origin = sections.get(place).map_or(&item.origin, |(item, _)| &item.origin);
            Err(value::wrong(
                origin,
                "not usable",
                format!("{} {}", error.field, error.problem),
            ))
        }
    }
}

fn sink(mut section: Section<'_>) -> Result<SinkRequest, ConfigError> {
    let kind = section.get("kind", one_of::<SinkKind>)?;
    let text = |item: &Item<'_>| item.text().map(str::to_owned);
    let request = SinkRequest {
        kind: match kind {
            Some(kind) => kind,
            None => return Err(section.lacks("kind", "write one of http, studio, cloudflare-kv, webhook, otlp")),
        },
        name: section.get("name", text)?,
        url: section.get("url", secret)?,
        headers: section.get("headers", environment)?.unwrap_or_default(),
        view: section.get("view", one_of::<View>)?,
        gzip: section.get("gzip", Item::boolean)?,
        api_url: section.get("api_url", secret)?,
        api_key: section.get("api_key", secret)?,
        agent_id: section.get("agent_id", text)?,
        account_id: section.get("account_id", text)?,
        namespace_id: section.get("namespace_id", text)?,
        api_token: section.get("api_token", secret)?,
        api_base: section.get("api_base", secret)?,
        format: section.get("format", one_of::<WebhookFormat>)?,
        secret: section.get("secret", secret)?,
        token: section.get("token", secret)?,
        events: section.get("events", |item| {
            item.one_or_many()?.iter().map(one_of::<WebhookEvent>).collect()
        })?,
    };
    section.finish()?;
    Ok(request)
}

/// A text that an error must not repeat.
pub(super) fn secret(item: &Item<'_>) -> Result<String, ConfigError> {
    let text = item.value.as_str().map(str::to_owned);
    text.ok_or_else(|| item.wrong_type("write it as a string, in quotes"))
}

/// A word of a list that serde knows.
pub(super) fn one_of<T: serde::de::DeserializeOwned>(item: &Item<'_>) -> Result<T, ConfigError> {
    let text = item.text()?;
    serde_json::from_value(text.into()).map_err(|error| {
        let text = error.to_string();
        // "unknown variant `htp`, expected one of `http`, `studio`"
        let known = text.split_once("expected ").map_or(text.as_str(), |(_, known)| known);
        item.expected(&format!("it has to be {known}"))
    })
}
