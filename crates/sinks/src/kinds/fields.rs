//! The fields of a sink as they were given, to what a kind needs: every mistake is told with what would be right.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use promptd_mask::credentials;
use promptd_model::SinkRequest;

/// A sink that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct SinkError {
    /// The field.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// Headers that are ours to set, or those of the connection.
const OURS: [&str; 16] = [
    "connection",
    "content-length",
    "content-encoding",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "promptd-epoch",
    "promptd-session",
    "te",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// A word in the name of a header that carries a secret.
const TELLING: [&str; 10] = [
    "auth",
    "cookie",
    "credential",
    "dsn",
    "key",
    "license",
    "password",
    "secret",
    "signature",
    "token",
];

/// What stands in a query and is shorter than this is a setting.
const SHORTEST_SECRET: usize = 8;

/// A part of a URL this long, with letters and digits, is nothing that people have written.
const RANDOM: usize = 16;

/// A part of a path this long, with letters and digits, is no version, and makes a secret of the path.
const SHORT_ID: usize = 6;

/// The longest name for an agent that fits into every backend's keys.
const MAX_AGENT_ID: usize = 256;

/// The fields of one sink.
pub(super) struct Fields<'a> {
    pub(super) request: &'a SinkRequest,
}

impl<'a> Fields<'a> {
    pub(super) fn of(request: &'a SinkRequest) -> Self {
        Self { request }
    }

    /// Refuses fields that another kind has.
    pub(super) fn only(&self, allowed: &[&str]) -> Result<(), SinkError> {
        let given = serde_json::to_value(self.request).unwrap_or_default();
        let stranger = given.as_object().and_then(|given| {
            given
                .keys()
                .find(|key| !["kind", "name"].contains(&key.as_str()) && !allowed.contains(&key.as_str()))
        });
        match stranger {
            None => Ok(()),
            Some(field) => Err(self.wrong(
                field,
                &format!(
                    "means nothing to it; besides kind and name it takes {}",
                    allowed.join(", ")
                ),
            )),
        }
    }

    /// An error about a field.
    pub(super) fn wrong(&self, field: &str, problem: &str) -> SinkError {
        let kind = self.request.kind.name();
        SinkError {
            field: field.to_owned(),
            problem: format!("of the {kind} sink {problem}"),
        }
    }

    /// A field without which the kind cannot be.
    pub(super) fn required<'v>(&self, field: &str, value: Option<&'v String>) -> Result<&'v str, SinkError> {
        value
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.wrong(field, "is missing"))
    }

    /// A field that is the URL of a backend.
    pub(super) fn url(&self, field: &str, value: Option<&String>) -> Result<Url, SinkError> {
        let text = self.required(field, value)?;
        // The text is not repeated: its path or query may be the secret.
        let mut url = Url::parse(text).map_err(|error| {
            self.wrong(
                field,
                &format!("is no URL ({error}); write one such as https://backend.example/logs"),
            )
        })?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(self.wrong(
                field,
                "is no http or https URL; write one such as https://backend.example/logs",
            ));
        }
        url.set_fragment(None);
        Ok(url)
    }

    /// A value for a header that nobody may see.
    pub(super) fn secret_header(&self, field: &str, value: &str) -> Result<HeaderValue, SinkError> {
        let mut header =
            HeaderValue::try_from(value).map_err(|_| self.wrong(field, "has characters that no header can have"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// `headers`, checked.
    pub(super) fn headers(&self) -> Result<HeaderMap, SinkError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.request.headers {
            let field = format!("headers.{name}");
            let name = HeaderName::try_from(name).map_err(|_| self.wrong(&field, "is no name of a header"))?;
            if OURS.contains(&name.as_str()) {
                return Err(self.wrong(&field, "is set by promptd; leave it out"));
            }
            if headers.insert(name, self.secret_header(&field, value)?).is_some() {
                return Err(self.wrong(&field, "is given twice"));
            }
        }
        Ok(headers)
    }

    /// Those values of `headers` that are secrets, by the header's name or because they look it; an `Authorization`
    /// without its scheme, since it may be repeated without.
    pub(super) fn header_secrets(&self) -> Vec<String> {
        let headers = self.request.headers.iter();
        let telling = headers.filter(|(name, value)| {
            let name = name.to_ascii_lowercase();
            TELLING.iter().any(|word| name.contains(word)) || is_random(value.trim(), RANDOM)
        });
        telling
            .flat_map(|(name, value)| secrets_of(name, value.trim()))
            .collect()
    }

    /// `agent_id`, checked.
    pub(super) fn agent_id(&self) -> Result<Option<String>, SinkError> {
        match self.request.agent_id.as_deref() {
            Some("") => Err(self.wrong("agent_id", "is empty; leave it out or name the agent")),
            Some(id) if id.len() > MAX_AGENT_ID => Err(self.wrong(
                "agent_id",
                &format!("has {} bytes; it can have {MAX_AGENT_ID} at most", id.len()),
            )),
            id => Ok(id.map(str::to_owned)),
        }
    }
}

/// What of a header must never be seen.
fn secrets_of(name: &str, value: &str) -> Vec<String> {
    let secrets = credentials(name, value);
    if secrets.is_empty() {
        return vec![value.to_owned()];
    }
    secrets
}

/// What of a URL must never be seen: its user's name and password, and whatever of its path and query is a secret,
/// as with the URLs that Slack and Zapier give away.
pub(super) fn url_secrets(url: &Url) -> Vec<String> {
    let user = [Some(url.username()), url.password()];
    let user = user.into_iter().flatten().filter(|text| !text.is_empty());
    let mut secrets: Vec<String> = user.map(str::to_owned).collect();
    let path = url.path().trim_end_matches('/');
    if path.split('/').any(|part| is_random(part, SHORT_ID)) && path.len() >= RANDOM {
        secrets.push(path.to_owned());
    }
    secrets.extend(
        path.split('/')
            .filter(|part| is_random(part, RANDOM))
            .map(str::to_owned),
    );
    if let Some(query) = url.query() {
        secrets.extend(Some(query.to_owned()).filter(|query| query.len() >= SHORTEST_SECRET));
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        secrets.extend(values.filter(|value| value.len() >= SHORTEST_SECRET));
    }
    secrets
}

/// Long, and with letters and digits.
fn is_random(text: &str, least: usize) -> bool {
    text.len() >= least
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
