//! One attempt at one message: an HTTP request, and what its answer means.

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::kinds::Message;
use super::retry;

/// What is read of an answer, so that its connection can be used again.
const ANSWER: usize = 64 << 10;

/// What is shown of a refusal's text.
const SHOWN: usize = 200;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PROMPTD_SESSION: HeaderName = HeaderName::from_static("promptd-session");
const PROMPTD_EPOCH: HeaderName = HeaderName::from_static("promptd-epoch");

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Perhaps the next time, and not before `asked` has passed.
    Again { error: String, asked: Option<Duration> },
    /// It was too large.
    TooLarge,
    /// Not before somebody has changed something.
    Refused { error: String },
}

/// Whose message it is, and when it was cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) session: &'a str,
    pub(super) epoch: &'a str,
}

/// The key under which a backend can tell a message that it has seen.
fn key(envelope: Envelope<'_>, message: &Message) -> String {
    let (first, last) = message.bounds;
    let part = message.part.map(|part| format!(":{part}")).unwrap_or_default();
    format!("{}:{}:{first}-{last}{part}", envelope.session, envelope.epoch)
}

/// Sends a message.
pub(super) async fn send(client: &reqwest::Client, message: &Message, envelope: Envelope<'_>) -> Result<(), Failure> {
    let mut headers = message.headers.clone();
    for (name, value) in [
        (IDEMPOTENCY_KEY, key(envelope, message)),
        (PROMPTD_SESSION, envelope.session.to_owned()),
        (PROMPTD_EPOCH, envelope.epoch.to_owned()),
    ] {
        // Ids and epochs are made of characters that a header may have.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    let request = client
        .request(message.method.clone(), message.url.clone())
        .headers(headers)
        .body(message.body.clone());
    let again = |error: reqwest::Error| Failure::Again {
        error: in_words(error),
        asked: None,
    };
    let response = request.send().await.map_err(again)?;
    let status = response.status();
    let asked = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let asked = asked.and_then(|text| retry::retry_after(text, Timestamp::now()));
    let text = text(response).await;
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND if message.may_be_missing => Ok(()),
        StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::TooLarge),
        status if is_passing(status) => Err(Failure::Again {
            error: answered(status, &text),
            asked,
        }),
        status => Err(Failure::Refused {
            error: answered(status, &text),
        }),
    }
}

/// Says "not now". 409 and 425 are how a backend says that it is still busy with the same key.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

fn answered(status: StatusCode, text: &str) -> String {
    let advice = if status.is_redirection() {
        "; redirects are not followed, give the URL that it leads to"
    } else {
        ""
    };
    let colon = if text.is_empty() { "" } else { ": " };
    format!("the backend answered {status}{advice}{colon}{text}")
}

/// The beginning of an answer, in one line.
async fn text(response: Response) -> String {
    let mut body = response.bytes_stream();
    let (mut beginning, mut read) = (Vec::new(), 0_usize);
    while read < ANSWER
        && let Some(Ok(chunk)) = body.next().await
    {
        read = read.saturating_add(chunk.len());
        let room = SHOWN.saturating_mul(4).saturating_sub(beginning.len());
        beginning.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&beginning);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN).collect()
}

/// Without the URL, whose path or query may be the secret.
fn in_words(error: reqwest::Error) -> String {
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
