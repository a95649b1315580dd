//! `http`: the journal's lines, in batches, to any backend.
//!
//! `POST url` `{"session","epoch","first_seq","last_seq","records":[…]}`. With `view: "updates"` the records are the
//! lines of that view for the journal's records `first_seq` to `last_seq`; there may be none.

use super::common::{Fields, SinkError, gzip};
use super::kind::{Batch, BatchShape, Endpoint, Kind, Message};
use bytes::Bytes;
use promptd_journal::ReadError;
use promptd_model::View;

/// Maximum bytes of records in a batch: with commas and the envelope, a body has at most 256 KiB.
const MAX_BATCH: usize = (256 << 10) - 512;

/// An `http` sink.
pub(super) struct Http {
    endpoint: Endpoint,
    gzip: bool,
    view: View,
}

impl Http {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["url", "headers", "view", "gzip"])?;
        Ok(Self {
            endpoint: fields.json_endpoint()?,
            gzip: fields.request.gzip.unwrap_or(false),
            view: fields.request.view.unwrap_or_default(),
        })
    }
}

impl Kind for Http {
    fn shape(&self) -> BatchShape {
        BatchShape::of_bytes(match self.view {
            View::Raw => MAX_BATCH,
            // An update about a short record can be twice as long.
            View::Updates => MAX_BATCH / 2,
        })
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        let body = match self.view {
            View::Raw => body(batch, batch.lines.iter().map(|line| &line.text)),
            View::Updates => body(batch, (batch.updates)()?.iter().map(|line| &line.text)),
        };
        let body = if self.gzip { gzip(&body) } else { body.into() };
        Ok(vec![self.endpoint.post(&self.endpoint.url, body, batch.bounds())])
    }
}

/// The body: the envelope with the unchanged lines.
fn body<'a>(batch: &Batch<'_>, lines: impl Iterator<Item = &'a Bytes> + Clone) -> Vec<u8> {
    let records: usize = lines.clone().map(|line| line.len().saturating_add(1)).sum();
    let mut body = Vec::with_capacity(records.saturating_add(256));
    // Ids and epochs only have characters that need no escape.
    let head = format!(
        "{{\"session\":\"{}\",\"epoch\":\"{}\",\"first_seq\":{},\"last_seq\":{},\"records\":[",
        batch.info.session, batch.epoch, batch.first, batch.last
    );
    body.extend_from_slice(head.as_bytes());
    for (at, line) in lines.enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(line);
    }
    body.extend_from_slice(b"]}");
    body
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
