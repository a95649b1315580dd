//! `http`: the journal's own lines, in batches, to any backend.
//!
//! `POST url` `{"session","epoch","first_seq","last_seq","records":[…]}`.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use super::body::compressed;
use super::fields::{Fields, SinkError, url_secrets};
use super::{Batch, Kind, Message, Shape};
use crate::journal::ReadError;

/// The most bytes of records in a batch: a body of 256 KiB has room for them, the commas between them and the
/// envelope.
const BATCH: usize = (256 << 10) - 512;

/// An `http` sink.
pub(super) struct Http {
    url: Url,
    headers: HeaderMap,
    secrets: Vec<String>,
    gzip: bool,
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
        let body = body(batch);
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
fn body(batch: &Batch<'_>) -> Vec<u8> {
    let records: usize = batch.lines.iter().map(|line| line.text.len().saturating_add(1)).sum();
    let mut body = Vec::with_capacity(records.saturating_add(256));
    // Ids and epochs are made of characters that need no escape.
    let head = format!(
        "{{\"session\":\"{}\",\"epoch\":\"{}\",\"first_seq\":{},\"last_seq\":{},\"records\":[",
        batch.about.session, batch.epoch, batch.first, batch.last
    );
    body.extend_from_slice(head.as_bytes());
    for (at, line) in batch.lines.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&line.text);
    }
    body.extend_from_slice(b"]}");
    body
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
