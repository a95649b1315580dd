//! `studio`: output and status, to a backend with the log routes that callers of `POST /execute` have.
//!
//! What the backend keeps under the output's key is exactly what the agent wrote, put together from `chunk`s. A chunk
//! never ends within a character; where bytes are missing, a line says so; bytes that are no text become U+FFFD.

mod chunks;
mod wire;

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Serialize;

use super::ending::{Ending, failed_before, key};
use super::fields::{Fields, SinkError, url_secrets};
use super::text;
use super::{Batch, Kind, Line, Message, Shape, body};
use promptd_journal::ReadError;
use promptd_model::{Body, Stream};
use promptd_model::{Head, RecordKind};
use wire::{Append, Log, SessionStatus};

/// The most bytes of records in a batch.
const BATCH: usize = 256 << 10;

/// A `studio` sink.
pub(super) struct Studio {
    url: Url,
    append: Url,
    logs: Url,
    status: Url,
    headers: HeaderMap,
    agent_id: Option<String>,
    secrets: Vec<String>,
}

impl Studio {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["api_url", "api_key", "agent_id"])?;
        let url = fields.url("api_url", fields.request.api_url.as_ref())?;
        let key = fields.required("api_key", fields.request.api_key.as_ref())?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            AUTHORIZATION,
            fields.secret_header("api_key", &format!("Bearer {key}"))?,
        );
        let mut secrets = vec![key.to_owned()];
        secrets.extend(url_secrets(&url));
        Ok(Self {
            append: route(&url, &["logs", "append"]),
            logs: route(&url, &["logs"]),
            status: route(&url, &["sessions", "status"]),
            url,
            headers,
            agent_id: fields.agent_id()?,
            secrets,
        })
    }

    fn post(&self, url: &Url, body: &impl Serialize, bounds: (u64, u64)) -> Message {
        Message {
            method: Method::POST,
            url: url.clone(),
            headers: self.headers.clone(),
            body: body::json(body).into(),
            bounds,
            part: None,
            may_be_missing: false,
        }
    }
}

fn route(url: &Url, path: &[&str]) -> Url {
    let mut route = url.clone();
    if let Ok(mut segments) = route.path_segments_mut() {
        segments.pop_if_empty().extend(["api", "internal"]).extend(path);
    }
    route
}

impl fmt::Debug for Studio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Studio").finish_non_exhaustive()
    }
}

/// The last part of the key under which a stream's text is kept.
pub(super) fn text_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "output",
        Stream::Stderr => "stderr",
    }
}

impl Kind for Studio {
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

    fn wants(&self, head: Head<'_>) -> bool {
        text::matters(head) || matches!(head.kind, RecordKind::Other("started"))
    }

    fn ready(&self, lines: &[Line]) -> usize {
        text::ready(lines)
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        let agent_id = self.agent_id.as_deref().unwrap_or(&batch.about.agent_id);
        let session_id = batch.about.session.as_str();
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
        for record in batch.lines.iter().filter_map(told).filter_map(Line::record) {
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
                // A retry goes on with the same turn.
                Body::Started(started) if started.attempt <= 1 => messages.push(status("started", None)),
                Body::TurnEnded(ended) => {
                    let ending = Ending::of(ended);
                    let error = ending.error.as_deref();
                    messages.push(log("status", ending.value));
                    // What an earlier turn left there is true no more.
                    let stale = || failed_before(batch.state, record.turn).then_some("");
                    messages.extend(error.or_else(stale).map(|error| log("error", error)));
                    messages.push(status(ending.status, error));
                }
                _ => {}
            }
        }
        Ok(messages)
    }
}

/// The line, if it tells what the session does.
fn told(line: &Line) -> Option<&Line> {
    let kind = line.head()?.kind;
    matches!(kind, RecordKind::Other("started" | "turn_ended")).then_some(line)
}

#[cfg(test)]
#[path = "studio_tests.rs"]
mod tests;
