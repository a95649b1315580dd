//! `http`: the journal's lines, in batches, to any backend.
//!
//! `POST url` `{"session","epoch","first_seq","last_seq","records":[…]}`. With `view: "updates"` the records are the
//! lines of that view that come from the journal's records `first_seq` to `last_seq`; there may be none.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use super::body::compressed;
use super::fields::{Fields, SinkError, url_secrets};
use super::{Batch, Kind, Message, Shape};
use promptd_journal::ReadError;
use promptd_model::View;

/// The most bytes of records in a batch: a body of 256 KiB has room for them, the commas between them and the
/// envelope.
const BATCH: usize = (256 << 10) - 512;

/// An `http` sink.
pub(super) struct Http {
    url: Url,
    headers: HeaderMap,
    secrets: Vec<String>,
    gzip: bool,
    view: View,
}

impl Http {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["url", "headers", "view", "gzip"])?;
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
            url,
            headers,
            secrets,
            gzip,
            view: fields.request.view.unwrap_or_default(),
        })
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Kind for Http {
    fn shape(&self) -> Shape {
        Shape {
            bytes: match self.view {
                View::Raw => BATCH,
                // What is said of a short line can be twice as long.
                View::Updates => BATCH / 2,
            },
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
        let body = match self.view {
            View::Raw => body(batch, batch.lines.iter().map(|line| &line.text)),
            View::Updates => body(batch, (batch.updates)()?.iter().map(|line| &line.text)),
        };
        let body = if self.gzip { compressed(&body) } else { body.into() };
        Ok(vec![Message {
            method: Method::POST,
            url: self.url.clone(),
            headers: self.headers.clone(),
            body,
            bounds: (batch.first, batch.last),
            part: None,
            may_be_missing: false,
        }])
    }
}

/// The envelope, with the lines as they are.
fn body<'a>(batch: &Batch<'_>, lines: impl Iterator<Item = &'a Bytes> + Clone) -> Vec<u8> {
    let records: usize = lines.clone().map(|line| line.len().saturating_add(1)).sum();
    let mut body = Vec::with_capacity(records.saturating_add(256));
    // Ids and epochs are made of characters that need no escape.
    let head = format!(
        "{{\"session\":\"{}\",\"epoch\":\"{}\",\"first_seq\":{},\"last_seq\":{},\"records\":[",
        batch.about.session, batch.epoch, batch.first, batch.last
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
