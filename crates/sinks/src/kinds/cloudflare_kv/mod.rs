//! `cloudflare-kv`: output and status, as values of Cloudflare's KV store.
//!
//! A value can only be replaced, so that each batch writes the whole text so far, and the pace is the store's: one
//! write per key and second. A text that has outgrown a value keeps its end and says how much was left out
//! (<https://developers.cloudflare.com/kv/platform/limits/>).

mod end;

use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use super::ending::{Ending, failed_before, key};
use super::fields::{Fields, SinkError, url_secrets};
use super::studio::text_name;
use super::text::{self, Texts};
use super::{Batch, Kind, Line, Message, Shape};
use end::End;
use promptd_journal::ReadError;
use promptd_model::Head;
use promptd_model::{Body, Stream};

/// Cloudflare's own.
const API: &str = "https://api.cloudflare.com/client/v4";

/// The most bytes of a value: 25 MiB.
const MAX_VALUE: usize = 25 << 20;

/// The most bytes of records in a batch. Large, since every batch costs a write of the whole text; not without end,
/// since a batch is in memory.
const BATCH: usize = 8 << 20;

/// What may stand in a segment of a path as it is; Cloudflare wants everything else encoded, colons too.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A `cloudflare-kv` sink.
pub(super) struct CloudflareKv {
    /// The values' URL, to which a key is added.
    values: Url,
    headers: HeaderMap,
    agent_id: Option<String>,
    secrets: Vec<String>,
    max_value: usize,
}

impl CloudflareKv {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["account_id", "namespace_id", "api_token", "api_base", "agent_id"])?;
        let request = fields.request;
        let account = fields.required("account_id", request.account_id.as_ref())?;
        let namespace = fields.required("namespace_id", request.namespace_id.as_ref())?;
        let token = fields.required("api_token", request.api_token.as_ref())?;
        let base = fields.url("api_base", request.api_base.as_ref().or(Some(&API.to_owned())))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(
            AUTHORIZATION,
            fields.secret_header("api_token", &format!("Bearer {token}"))?,
        );
        let mut secrets = vec![token.to_owned()];
        secrets.extend(url_secrets(&base));
        let (account, namespace) = (segment(account), segment(namespace));
        let tail = format!("accounts/{account}/storage/kv/namespaces/{namespace}/values");
        let mut values = base;
        values.set_path(&format!("{}/{tail}", values.path().trim_end_matches('/')));
        Ok(Self {
            values,
            headers,
            agent_id: fields.agent_id()?,
            secrets,
            max_value: MAX_VALUE,
        })
    }

    fn put(&self, batch: &Batch<'_>, part: &'static str, value: Vec<u8>) -> Message {
        let agent = self.agent_id.as_deref().unwrap_or(&batch.about.agent_id);
        let key = key(agent, &batch.about.session, part);
        let mut url = self.values.clone();
        url.set_path(&format!("{}/{}", self.values.path(), segment(&key)));
        Message {
            method: Method::PUT,
            url,
            headers: self.headers.clone(),
            body: value.into(),
            bounds: (batch.first, batch.last),
            part: Some(part),
            may_be_missing: false,
        }
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl fmt::Debug for CloudflareKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudflareKv").finish_non_exhaustive()
    }
}

impl Kind for CloudflareKv {
    fn shape(&self) -> Shape {
        Shape {
            bytes: BATCH,
            single: false,
            creation: false,
            pace: Duration::from_secs(1),
        }
    }

    fn url(&self) -> &Url {
        &self.values
    }

    fn secrets(&self) -> Vec<&str> {
        self.secrets.iter().map(String::as_str).collect()
    }

    fn wants(&self, head: Head<'_>) -> bool {
        text::matters(head)
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        let changed = Stream::BOTH.map(|stream| batch.lines.iter().any(|line| text::text_of(line) == Some(stream)));
        let mut messages = Vec::new();
        if changed.contains(&true) {
            for (stream, end) in self.texts(batch, changed)? {
                messages.push(self.put(batch, text_name(stream), end.into_value()));
            }
        }
        let (mut status, mut error) = (None, None);
        for record in batch.lines.iter().filter_map(Line::record) {
            if let Body::TurnEnded(ended) = &record.body {
                let ending = Ending::of(ended);
                status = Some(ending.value.to_owned());
                // What an earlier turn left there is true no more.
                let stale = || failed_before(batch.state, record.turn).then(String::new);
                error = ending.error.or_else(stale);
            }
        }
        for (part, value) in [("status", status), ("error", error)] {
            messages.extend(value.map(|value| self.put(batch, part, value.into_bytes())));
        }
        Ok(messages)
    }
}

impl CloudflareKv {
    /// The texts that changed, in one pass over the journal.
    fn texts(&self, batch: &Batch<'_>, changed: [bool; 2]) -> Result<Vec<(Stream, End)>, ReadError> {
        let wanted = Stream::BOTH.into_iter().zip(changed).filter(|(_, changed)| *changed);
        let mut ends: Vec<(Stream, End)> = wanted.map(|(stream, _)| (stream, End::of(self.max_value))).collect();
        let mut texts = Texts::default();
        let mut tell = |stream: Stream, text: &str| {
            if let Some((_, end)) = ends.iter_mut().find(|(of, _)| *of == stream) {
                end.push(text.as_bytes());
            }
        };
        (batch.history)(&mut |line| {
            if line.seq <= batch.last {
                texts.take(line, &mut tell);
            }
        })?;
        texts.finish(&mut tell);
        Ok(ends)
    }
}

#[cfg(test)]
#[path = "cloudflare_kv_tests.rs"]
mod tests;
