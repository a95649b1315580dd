//! `otlp`: OpenTelemetry logs, and one trace per turn, over OTLP/HTTP in JSON.
//!
//! Every record is a log record, sent to `{url}/v1/logs`. Each turn that ended is a trace with one span, sent to
//! `{url}/v1/traces`, with the attributes of the conventions for generative AI
//! (<https://github.com/open-telemetry/semantic-conventions-genai>). Other attributes are named `promptd.*`. Ids are
//! derived from the session and the turn, so a retry does not create a second trace.

mod ids;
mod logs;
mod schema;
mod traces;

use reqwest::Url;
use serde::Serialize;

use super::common::{Fields, SinkError, gzip, json};
use super::kind::{Batch, BatchShape, Endpoint, Kind, Message};
use promptd_journal::ReadError;

/// Maximum bytes of records in a batch. A short record grows sixfold, and receivers accept 20 MiB.
const MAX_BATCH: usize = 256 << 10;

/// An `otlp` sink.
pub(super) struct Otlp {
    endpoint: Endpoint,
    logs: Url,
    traces: Url,
    gzip: bool,
}

impl Otlp {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["url", "headers", "gzip"])?;
        let endpoint = fields.json_endpoint()?;
        Ok(Self {
            logs: route(&endpoint.url, "logs"),
            traces: route(&endpoint.url, "traces"),
            endpoint,
            gzip: fields.request.gzip.unwrap_or(false),
        })
    }

    fn post(&self, batch: &Batch<'_>, url: &Url, part: &'static str, body: &impl Serialize) -> Message {
        let body = json(body);
        let body = if self.gzip { gzip(&body) } else { body.into() };
        Message {
            part: Some(part),
            ..self.endpoint.post(url, body, batch.bounds())
        }
    }
}

/// The route of a signal. The configured URL is the base, or one of the routes.
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

impl Kind for Otlp {
    fn shape(&self) -> BatchShape {
        BatchShape::of_bytes(MAX_BATCH)
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        // An empty request is not sent, as the specification says.
        let logs = logs::request(batch).map(|logs| self.post(batch, &self.logs, "logs", &logs));
        let traces = traces::request(batch).map(|traces| self.post(batch, &self.traces, "traces", &traces));
        Ok(logs.into_iter().chain(traces).collect())
    }
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
mod tests;
