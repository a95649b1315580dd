//! A session's records over HTTP, from any point on and across broken connections.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::client::{Client, Request, session_path};
use super::error::CliError;
use crate::journal::parse_head;

/// How long after a broken connection the next one is tried; a server that is not there is the client's affair.
const RECONNECT: Duration = Duration::from_millis(100);

/// A cursor in a session's journal, wherever that is.
#[derive(Debug)]
pub(super) struct Events<'a> {
    client: &'a Client,
    session: String,
    /// The last record that was given out.
    after: u64,
    follow: bool,
    answer: Option<Response>,
    /// What came behind the last newline.
    rest: BytesMut,
}

impl<'a> Events<'a> {
    pub(super) fn new(client: &'a Client, session: &str, after: u64, follow: bool) -> Self {
        Self {
            client,
            session: session.to_owned(),
            after,
            follow,
            answer: None,
            rest: BytesMut::new(),
        }
    }

    /// The `seq` of the last record that was given out.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// The next records, as whole lines; `None` when the server says that there are no more. Called again after
    /// that, it asks again.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        loop {
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None => self.connect().await?,
            };
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    self.answer = Some(answer);
                    if let Some(lines) = self.whole_lines(&chunk) {
                        return Ok(Some(lines));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    tracing::debug!(%error, after = self.after, "the event stream broke; coming back");
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    }

    /// Waits a little before asking a server again that ended a stream before its time.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(RECONNECT).await;
    }

    async fn connect(&mut self) -> Result<Response, CliError> {
        // A torn line comes again, whole.
        self.rest.clear();
        let query = format!("/events?after={}&follow={}&view=raw", self.after, self.follow);
        self.client
            .send(&Request::get(session_path(&self.session, &query)).ndjson())
            .await
    }

    fn whole_lines(&mut self, chunk: &[u8]) -> Option<Bytes> {
        let length = memchr::memrchr(b'\n', chunk).map_or(0, |at| at.saturating_add(1));
        let (whole, torn) = chunk.split_at_checked(length)?;
        if whole.is_empty() {
            self.rest.extend_from_slice(torn);
            return None;
        }
        self.rest.extend_from_slice(whole);
        let lines = self.rest.split().freeze();
        self.rest.extend_from_slice(torn);
        if let Some(head) = lines
            .trim_ascii_end()
            .rsplit(|&byte| byte == b'\n')
            .next()
            .and_then(parse_head)
        {
            self.after = head.seq;
        }
        Some(lines)
    }
}
