//! Checks the fields of a sink. Each error says what would be right.

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::secrets::{header_secrets, url_secrets};
use crate::kinds::kind::Endpoint;
use promptd_model::SinkRequest;

/// An invalid sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct SinkError {
    /// The field.
    pub field: String,
    /// The problem, and how to correct it.
    pub problem: String,
}

/// Headers that promptd or the connection sets.
const RESERVED_HEADERS: &str = "connection content-length content-encoding content-type expect host idempotency-key \
    keep-alive promptd-epoch promptd-session te transfer-encoding upgrade webhook-id webhook-signature webhook-timestamp";

/// Maximum length of an agent's id that fits into the keys of every backend.
const MAX_AGENT_ID: usize = 256;

/// The fields of one sink.
pub(in crate::kinds) struct Fields<'a> {
    pub(in crate::kinds) request: &'a SinkRequest,
}

impl<'a> Fields<'a> {
    pub(in crate::kinds) fn of(request: &'a SinkRequest) -> Self {
        Self { request }
    }

    /// Refuses fields of other kinds.
    pub(in crate::kinds) fn only(&self, allowed: &[&str]) -> Result<(), SinkError> {
        let given = serde_json::to_value(self.request).unwrap_or_default();
        let unknown = given.as_object().and_then(|given| {
            given
                .keys()
                .find(|key| !["kind", "name"].contains(&key.as_str()) && !allowed.contains(&key.as_str()))
        });
        match unknown {
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
    pub(in crate::kinds) fn wrong(&self, field: &str, problem: &str) -> SinkError {
        let kind = self.request.kind.name();
        SinkError {
            field: field.to_owned(),
            problem: format!("of the {kind} sink {problem}"),
        }
    }

    /// A required field.
    pub(in crate::kinds) fn required<'v>(&self, field: &str, value: Option<&'v String>) -> Result<&'v str, SinkError> {
        value
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.wrong(field, "is missing"))
    }

    /// The URL of a backend.
    pub(in crate::kinds) fn url(&self, field: &str, value: Option<&String>) -> Result<Url, SinkError> {
        let text = self.required(field, value)?;
        // The text is not repeated, because its path or query may be secret.
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

    /// A secret value of a header.
    pub(in crate::kinds) fn secret_header(&self, field: &str, value: &str) -> Result<HeaderValue, SinkError> {
        let mut header =
            HeaderValue::try_from(value).map_err(|_| self.wrong(field, "has characters that no header can have"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// The checked `headers`.
    pub(in crate::kinds) fn headers(&self) -> Result<HeaderMap, SinkError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.request.headers {
            let field = format!("headers.{name}");
            let name = HeaderName::try_from(name).map_err(|_| self.wrong(&field, "is no name of a header"))?;
            if RESERVED_HEADERS.split(' ').any(|reserved| reserved == name.as_str()) {
                return Err(self.wrong(&field, "is set by promptd; leave it out"));
            }
            if headers.insert(name, self.secret_header(&field, value)?).is_some() {
                return Err(self.wrong(&field, "is given twice"));
            }
        }
        Ok(headers)
    }

    /// The endpoint of a kind with `url` and `headers` that sends JSON, compressed if `gzip` is set.
    pub(in crate::kinds) fn json_endpoint(&self) -> Result<Endpoint, SinkError> {
        let url = self.url("url", self.request.url.as_ref())?;
        let mut headers = self.headers()?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.request.gzip.unwrap_or(false) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut secrets = header_secrets(&self.request.headers);
        secrets.extend(url_secrets(&url));
        Ok(Endpoint { url, headers, secrets })
    }

    /// The endpoint of a kind with a base URL and a bearer token.
    pub(in crate::kinds) fn bearer_endpoint(
        &self,
        url: Url,
        field: &str,
        token: Option<&String>,
        content_type: &'static str,
    ) -> Result<Endpoint, SinkError> {
        let token = self.required(field, token)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(AUTHORIZATION, self.secret_header(field, &format!("Bearer {token}"))?);
        let mut secrets = vec![token.to_owned()];
        secrets.extend(url_secrets(&url));
        Ok(Endpoint { url, headers, secrets })
    }

    /// The checked `agent_id`.
    pub(in crate::kinds) fn agent_id(&self) -> Result<Option<String>, SinkError> {
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

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
