//! `cloudflare-kv`: output and status, as values in Cloudflare KV.
//!
//! A value can only be replaced, so each batch writes the whole text. Cloudflare allows one write per key and second. If
//! a text is larger than a value can be, its end is kept, after a line that says how much was left out
//! (<https://developers.cloudflare.com/kv/platform/limits/>).

mod tail;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use super::common::{Fields, SinkError, StreamTexts, TurnStatus, affects_text, failed_before, key, text_name, text_of};
use super::kind::{Batch, BatchShape, Endpoint, Kind, Line, Message};
use promptd_journal::ReadError;
use promptd_model::Head;
use promptd_model::{Body, Stream};
use tail::TextTail;

/// The base URL of Cloudflare's API.
const API: &str = "https://api.cloudflare.com/client/v4";

/// Maximum bytes of a value: 25 MiB.
const MAX_VALUE: usize = 25 << 20;

/// Maximum bytes of records in a batch. Large, because each batch writes the whole text; but a batch must fit into
/// memory.
const MAX_BATCH: usize = 8 << 20;

/// The characters that are not encoded in a segment of a path. Cloudflare requires that colons are encoded.
const UNENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A `cloudflare-kv` sink.
pub(super) struct CloudflareKv {
    /// Its URL is that of the namespace's values, to which a key is appended.
    endpoint: Endpoint,
    agent_id: Option<String>,
    max_value: usize,
}

impl CloudflareKv {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["account_id", "namespace_id", "api_token", "api_base", "agent_id"])?;
        let request = fields.request;
        let account = fields.required("account_id", request.account_id.as_ref())?;
        let namespace = fields.required("namespace_id", request.namespace_id.as_ref())?;
        fields.required("api_token", request.api_token.as_ref())?;
        let base = fields.url("api_base", request.api_base.as_ref().or(Some(&API.to_owned())))?;
        let mut endpoint = fields.bearer_endpoint(
            base,
            "api_token",
            request.api_token.as_ref(),
            "text/plain; charset=utf-8",
        )?;
        let (account, namespace) = (segment(account), segment(namespace));
        let values = format!("accounts/{account}/storage/kv/namespaces/{namespace}/values");
        let base_path = endpoint.url.path().trim_end_matches('/').to_owned();
        endpoint.url.set_path(&format!("{base_path}/{values}"));
        Ok(Self {
            endpoint,
            agent_id: fields.agent_id()?,
            max_value: MAX_VALUE,
        })
    }

    fn put(&self, batch: &Batch<'_>, part: &'static str, value: Vec<u8>) -> Message {
        let agent = self.agent_id.as_deref().unwrap_or(&batch.info.agent_id);
        let key = key(agent, &batch.info.session, part);
        let mut url = self.endpoint.url.clone();
        url.set_path(&format!("{}/{}", url.path(), segment(&key)));
        Message {
            method: Method::PUT,
            part: Some(part),
            ..self.endpoint.post(&url, value, batch.bounds())
        }
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, UNENCODED).to_string()
}

impl Kind for CloudflareKv {
    fn shape(&self) -> BatchShape {
        BatchShape {
            interval: Duration::from_secs(1),
            ..BatchShape::of_bytes(MAX_BATCH)
        }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn wants(&self, head: Head<'_>) -> bool {
        affects_text(head)
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        let changed = Stream::BOTH.map(|stream| batch.lines.iter().any(|line| text_of(line) == Some(stream)));
        let mut messages = Vec::new();
        if changed.contains(&true) {
            for (stream, end) in self.texts(batch, changed)? {
                messages.push(self.put(batch, text_name(stream), end.into_value()));
            }
        }
        let (mut status, mut error) = (None, None);
        for record in batch.lines.iter().filter_map(Line::record) {
            if let Body::TurnEnded(ended) = &record.body {
                let turn_status = TurnStatus::of(ended);
                status = Some(turn_status.value.to_owned());
                // Overwrites the error of an earlier turn.
                let stale = || failed_before(batch.state, record.turn).then(String::new);
                error = turn_status.error.or_else(stale);
            }
        }
        for (part, value) in [("status", status), ("error", error)] {
            messages.extend(value.map(|value| self.put(batch, part, value.into_bytes())));
        }
        Ok(messages)
    }
}

impl CloudflareKv {
    /// The changed texts, from one pass over the journal.
    fn texts(&self, batch: &Batch<'_>, changed: [bool; 2]) -> Result<Vec<(Stream, TextTail)>, ReadError> {
        let wanted = Stream::BOTH.into_iter().zip(changed).filter(|(_, changed)| *changed);
        let mut ends: Vec<(Stream, TextTail)> = wanted
            .map(|(stream, _)| (stream, TextTail::of(self.max_value)))
            .collect();
        let mut texts = StreamTexts::default();
        let mut append = |stream: Stream, text: &str| {
            if let Some((_, end)) = ends.iter_mut().find(|(of, _)| *of == stream) {
                end.push(text.as_bytes());
            }
        };
        (batch.history)(&mut |line| {
            if line.seq <= batch.last {
                texts.add(line, &mut append);
            }
        })?;
        texts.finish(&mut append);
        Ok(ends)
    }
}

#[cfg(test)]
#[path = "cloudflare_kv_tests.rs"]
mod tests;
