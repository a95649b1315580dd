//! One attempt to send one message.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::retry::parse_retry_after;
use crate::kinds::Message;

/// Maximum bytes of an answer that are read, so that its connection can be reused.
const MAX_ANSWER: usize = 64 << 10;

/// Maximum characters of an answer in an error message.
const MAX_SHOWN: usize = 200;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PROMPTD_SESSION: HeaderName = HeaderName::from_static("promptd-session");
const PROMPTD_EPOCH: HeaderName = HeaderName::from_static("promptd-epoch");

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It can be retried, but not before `retry_after`.
    Temporary {
        error: String,
        retry_after: Option<Duration>,
    },
    /// It was too large.
    TooLarge,
    /// The backend refuses it. Somebody has to change something.
    Refused { error: String },
}

impl Failure {
    /// A temporary failure for which the backend asked for no delay.
    pub(crate) fn temporary(error: impl ToString) -> Self {
        Self::Temporary {
            error: error.to_string(),
            retry_after: None,
        }
    }
}

/// The session and the epoch of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) session: &'a str,
    pub(crate) epoch: &'a str,
}

/// The `Idempotency-Key`, by which a backend recognizes a message that it has received before.
fn idempotency_key(envelope: Envelope<'_>, message: &Message) -> String {
    let (first, last) = message.bounds;
    let part = message.part.map(|part| format!(":{part}")).unwrap_or_default();
    format!("{}:{}:{first}-{last}{part}", envelope.session, envelope.epoch)
}

/// Sends a message.
pub(crate) async fn send(client: &reqwest::Client, message: &Message, envelope: Envelope<'_>) -> Result<(), Failure> {
    let mut headers = message.headers.clone();
    for (name, value) in [
        (IDEMPOTENCY_KEY, idempotency_key(envelope, message)),
        (PROMPTD_SESSION, envelope.session.to_owned()),
        (PROMPTD_EPOCH, envelope.epoch.to_owned()),
    ] {
        // Ids and epochs only have characters that are allowed in headers.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    let request = client
        .request(message.method.clone(), message.url.clone())
        .headers(headers)
        .body(message.body.clone());
    let response = request.send().await;
    let response = response.map_err(|error| Failure::temporary(describe(error)))?;
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| parse_retry_after(text, Timestamp::now()));
    let error = answer_error(status, &read_text(response).await);
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND if message.may_be_missing => Ok(()),
        StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::TooLarge),
        status if is_temporary(status) => Err(Failure::Temporary { error, retry_after }),
        _ => Err(Failure::Refused { error }),
    }
}

/// Whether a status means "try again later". With 409 and 425 a backend says that it still handles the same key.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

fn answer_error(status: StatusCode, text: &str) -> String {
    let hint = if status.is_redirection() {
        "; redirects are not followed, give the URL that it leads to"
    } else {
        ""
    };
    let colon = if text.is_empty() { "" } else { ": " };
    format!("the backend answered {status}{hint}{colon}{text}")
}

/// The start of an answer, in one line.
async fn read_text(mut response: Response) -> String {
    let (mut start, mut read) = (Vec::new(), 0_usize);
    while read < MAX_ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read = read.saturating_add(chunk.len());
        let space = MAX_SHOWN.saturating_mul(4).saturating_sub(start.len());
        start.extend_from_slice(chunk.get(..space.min(chunk.len())).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&start);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_SHOWN).collect()
}

/// Describes an error without the URL, whose path or query may be secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "the backend did not answer in time".to_owned();
    }
    let mut innermost: &dyn Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if error.is_connect() {
        format!("no connection: {innermost}")
    } else {
        format!("the connection broke: {innermost}")
    }
}
