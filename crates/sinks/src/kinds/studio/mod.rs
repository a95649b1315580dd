//! `studio`: output and status, for a backend with the log routes that callers of `POST /execute` have.
//!
//! The backend joins `chunk`s under the key of the output, and gets exactly what the agent wrote. A chunk never ends
//! within a character. A line reports missing bytes. Bytes that are not UTF-8 become U+FFFD.

mod chunks;
mod wire;

use reqwest::Url;
use serde::Serialize;

use super::common::{Fields, SinkError, TurnStatus, affects_text, failed_before, json, key, ready, text_name};
use super::kind::{Batch, BatchShape, Endpoint, Kind, Line, Message};
use promptd_journal::ReadError;
use promptd_model::Body;
use promptd_model::{Head, RecordKind};
use wire::{Append, Log, SessionStatus};

/// Maximum bytes of records in a batch.
const MAX_BATCH: usize = 256 << 10;

/// A `studio` sink.
pub(super) struct Studio {
    endpoint: Endpoint,
    append: Url,
    logs: Url,
    status: Url,
    agent_id: Option<String>,
}

impl Studio {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["api_url", "api_key", "agent_id"])?;
        let url = fields.url("api_url", fields.request.api_url.as_ref())?;
        let endpoint = fields.bearer_endpoint(url, "api_key", fields.request.api_key.as_ref(), "application/json")?;
        Ok(Self {
            append: route(&endpoint.url, &["logs", "append"]),
            logs: route(&endpoint.url, &["logs"]),
            status: route(&endpoint.url, &["sessions", "status"]),
            endpoint,
            agent_id: fields.agent_id()?,
        })
    }

    fn post(&self, url: &Url, body: &impl Serialize, bounds: (u64, u64)) -> Message {
        self.endpoint.post(url, json(body), bounds)
    }
}

fn route(url: &Url, path: &[&str]) -> Url {
    let mut route = url.clone();
    if let Ok(mut segments) = route.path_segments_mut() {
        segments.pop_if_empty().extend(["api", "internal"]).extend(path);
    }
    route
}

impl Kind for Studio {
    fn shape(&self) -> BatchShape {
        BatchShape::of_bytes(MAX_BATCH)
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn wants(&self, head: Head<'_>) -> bool {
        affects_text(head) || matches!(head.kind, RecordKind::Other("started"))
    }

    fn ready(&self, lines: &[Line]) -> usize {
        ready(lines)
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        let agent_id = self.agent_id.as_deref().unwrap_or(&batch.info.agent_id);
        let session_id = batch.info.session.as_str();
        let mut messages = Vec::new();
        for (stream, chunk) in chunks::of(batch.lines) {
            let Some((first_seq, last)) = chunk.records.filter(|_| !chunk.text.is_empty()) else {
                continue;
            };
            let (last_seq, time) = (last.seq, last.record().map(|record| record.time));
            let append = Append {
                agent_id,
                session_id,
                key: key(agent_id, session_id, text_name(stream)),
                chunk: &chunk.text,
                timestamp: time.map(|time| format!("{time:.6}")).unwrap_or_default(),
                first_seq,
                last_seq,
            };
            messages.push(self.post(&self.append, &append, (first_seq, last_seq)));
        }
        for record in batch.lines.iter().filter_map(status_line).filter_map(Line::record) {
            let bounds = (record.seq, record.seq);
            let status = |status, error| Message {
                part: Some("session"),
                may_be_missing: true,
                ..self.post(
                    &self.status,
                    &SessionStatus {
                        agent_id,
                        session_id,
                        status,
                        error,
                    },
                    bounds,
                )
            };
            let log = |part, value| Message {
                part: Some(part),
                ..self.post(
                    &self.logs,
                    &Log {
                        agent_id,
                        session_id,
                        key: key(agent_id, session_id, part),
                        value,
                    },
                    bounds,
                )
            };
            match &record.body {
                // A retry continues the same turn.
                Body::Started(started) if started.attempt <= 1 => messages.push(status("started", None)),
                Body::TurnEnded(ended) => {
                    let turn_status = TurnStatus::of(ended);
                    let error = turn_status.error.as_deref();
                    messages.push(log("status", turn_status.value));
                    // Overwrites the error of an earlier turn.
                    let stale = || failed_before(batch.state, record.turn).then_some("");
                    messages.extend(error.or_else(stale).map(|error| log("error", error)));
                    messages.push(status(turn_status.status, error));
                }
                _ => {}
            }
        }
        Ok(messages)
    }
}

/// The line, if its record changes the session's status.
fn status_line(line: &Line) -> Option<&Line> {
    let kind = line.head()?.kind;
    matches!(kind, RecordKind::Other("started" | "turn_ended")).then_some(line)
}

#[cfg(test)]
#[path = "studio_tests.rs"]
mod tests;
