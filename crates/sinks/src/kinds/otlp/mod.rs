//! `otlp`: OpenTelemetry logs, and one trace per turn, over OTLP/HTTP in JSON.
//!
//! Every record is a log record, sent to `{url}/v1/logs`. A turn that ended is a trace of one span, sent to
//! `{url}/v1/traces`, with the attributes of the conventions for generative AI
//! (<https://github.com/open-telemetry/semantic-conventions-genai>); what they have no name for is `promptd.*`.
//! Ids follow from the session and the turn, so that a retry makes no second trace.

mod ids;
mod logs;
mod schema;
mod traces;

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Serialize;

use super::fields::{Fields, SinkError, url_secrets};
use super::{Batch, Kind, Message, Shape, body};
use promptd_journal::ReadError;

/// The most bytes of records in a batch; a short record grows sixfold, and receivers take 20 MiB.
const BATCH: usize = 256 << 10;

/// An `otlp` sink.
pub(super) struct Otlp {
    url: Url,
    logs: Url,
    traces: Url,
    headers: HeaderMap,
    secrets: Vec<String>,
    gzip: bool,
}

impl Otlp {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["url", "headers", "gzip"])?;
        let url = fields.url("url", fields.request.url.as_ref())?;
        let mut headers = fields.headers()?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let gzip = fields.request.gzip.unwrap_or(false);
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut secrets = fields.header_secrets();
        secrets.extend(url_secrets(&url));
        Ok(Self {
            logs: route(&url, "logs"),
            traces: route(&url, "traces"),
            url,
            headers,
            secrets,
            gzip,
        })
    }

    fn post(&self, batch: &Batch<'_>, url: &Url, part: &'static str, body: &impl Serialize) -> Message {
        let body = body::json(body);
        let body = if self.gzip {
            body::compressed(&body)
        } else {
            body.into()
        };
        Message {
            method: Method::POST,
            url: url.clone(),
            headers: self.headers.clone(),
            body,
            bounds: (batch.first, batch.last),
            part: Some(part),
            may_be_missing: false,
        }
    }
}

/// The route of a signal; callers give the base, or one of the routes.
fn route(url: &Url, signal: &str) -> Url {
    let path = url.path().trim_end_matches('/');
    let known = ["/v1/logs", "/v1/traces"]
        .into_iter()
        .find_map(|end| path.strip_suffix(end));
    let path = format!("{}/v1/{signal}", known.unwrap_or(path));
    let mut route = url.clone();
    route.set_path(&path);
    route
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").finish_non_exhaustive()
    }
}

impl Kind for Otlp {
    fn shape(&self) -> Shape {
        Shape {
            bytes: BATCH,
            single: false,
            creation: false,
            pace: Duration::ZERO,
        }
    }

    fn url(&self) -> &Url {
        &self.url
    }

    fn secrets(&self) -> Vec<&str> {
        self.secrets.iter().map(String::as_str).collect()
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        // What is empty is not sent, as the specification asks.
        let logs = logs::request(batch).map(|logs| self.post(batch, &self.logs, "logs", &logs));
        let traces = traces::request(batch).map(|traces| self.post(batch, &self.traces, "traces", &traces));
        Ok(logs.into_iter().chain(traces).collect())
    }
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
