//! `webhook`: what happens in a session's life, one event per request.
//!
//! Bodies are signed as Standard Webhooks (<https://www.standardwebhooks.com>). `format` gives the same events to
//! GitHub's `repository_dispatch`, or flat to those who can read nothing else.

mod event;
mod format;
mod shorten;
mod sign;

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::fields::{Fields, SinkError, url_secrets};
use super::{Batch, Kind, Message, Shape};
use event::Event;
use promptd_journal::ReadError;
use promptd_model::Head;
use promptd_model::{WebhookEvent, WebhookFormat};
use sign::Keys;

/// GitHub's own name for the version of its API that this was written for; a header of the sink's own wins.
const GITHUB_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-github-api-version"),
    HeaderValue::from_static("2022-11-28"),
);

/// What `repository_dispatch` is sent for.
const GITHUB_EVENTS: [WebhookEvent; 2] = [WebhookEvent::SessionCreated, WebhookEvent::TurnEnded];

/// A `webhook` sink.
pub(super) struct Webhook {
    url: Url,
    headers: HeaderMap,
    format: WebhookFormat,
    /// What is sent.
    events: Vec<WebhookEvent>,
    keys: Keys,
    secrets: Vec<String>,
}

impl Webhook {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["url", "headers", "format", "secret", "token", "events"])?;
        let url = fields.url("url", fields.request.url.as_ref())?;
        let format = fields.request.format.unwrap_or_default();
        let mut headers = fields.headers()?;
        let mut secrets = fields.header_secrets();
        secrets.extend(url_secrets(&url));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let github = format == WebhookFormat::Github;
        match &fields.request.token {
            Some(_) if !github => {
                return Err(fields.wrong("token", "means nothing without format \"github\"; use headers"));
            }
            Some(_) => {
                let token = fields.required("token", fields.request.token.as_ref())?;
                headers.insert(
                    AUTHORIZATION,
                    fields.secret_header("token", &format!("Bearer {token}"))?,
                );
                secrets.push(token.to_owned());
            }
            None if github && !headers.contains_key(AUTHORIZATION) => {
                let problem = "is missing; format \"github\" needs one that may write the repository's contents";
                return Err(fields.wrong("token", problem));
            }
            None => {}
        }
        if github {
            let (name, version) = GITHUB_VERSION;
            headers.entry(name).or_insert(version);
            let accept = HeaderValue::from_static("application/vnd.github+json");
            headers.entry(ACCEPT).or_insert(accept);
        }
        if github && fields.request.secret.is_some() {
            return Err(fields.wrong(
                "secret",
                "means nothing to GitHub, which trusts the token; leave it out",
            ));
        }
        let keys = match &fields.request.secret {
            Some(secret) => Keys::of(secret).map_err(|problem| fields.wrong("secret", problem))?,
            None => Keys::default(),
        };
        secrets.extend(fields.request.secret.iter().flat_map(|secret| sign::texts(secret)));
        Ok(Self {
            events: events(fields, format)?,
            url,
            headers,
            format,
            keys,
            secrets,
        })
    }
}

/// Which events are sent.
fn events(fields: &Fields<'_>, format: WebhookFormat) -> Result<Vec<WebhookEvent>, SinkError> {
    let possible = match format {
        WebhookFormat::Github => &GITHUB_EVENTS[..],
        WebhookFormat::Standard | WebhookFormat::Plain => &event::ALL[..],
    };
    let Some(wanted) = &fields.request.events else {
        return Ok(possible.to_vec());
    };
    if wanted.is_empty() {
        return Err(fields.wrong("events", "is empty; leave it out for all, or leave out the sink"));
    }
    match wanted.iter().find(|event| !possible.contains(event)) {
        None => Ok(wanted.clone()),
        Some(event) => {
            let names: Vec<&str> = possible.iter().map(|event| event.name()).collect();
            let problem = format!(
                "has {}, which its format does not send; it sends {}",
                event.name(),
                names.join(", ")
            );
            Err(fields.wrong("events", &problem))
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

impl Kind for Webhook {
    fn shape(&self) -> Shape {
        Shape {
            bytes: usize::MAX,
            single: true,
            creation: self.events.contains(&WebhookEvent::SessionCreated),
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
        event::of_kind(head.kind.name()).is_some_and(|event| self.events.contains(&event))
    }

    fn messages(&self, batch: &Batch<'_>) -> Result<Vec<Message>, ReadError> {
        let events = if batch.last == 0 {
            vec![Event::creation(batch)]
        } else {
            batch.lines.iter().filter_map(|line| Event::of(batch, line)).collect()
        };
        let wanted = events.iter().filter(|event| self.events.contains(&event.of));
        Ok(wanted.map(|event| self.message(batch, event)).collect())
    }
}

impl Webhook {
    fn message(&self, batch: &Batch<'_>, event: &Event) -> Message {
        let body = format::body(self.format, event);
        let mut headers = self.headers.clone();
        if self.format != WebhookFormat::Github {
            let id = sign::id(&batch.about.session, batch.epoch, event.seq);
            headers.extend(self.keys.headers(&id, batch.now, &body));
        }
        Message {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body: body.into(),
            bounds: (event.seq, event.seq),
            part: None,
            may_be_missing: false,
        }
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
