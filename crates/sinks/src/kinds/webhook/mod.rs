//! `webhook`: the life-cycle events of a session, one event per request.
//!
//! Bodies are signed as Standard Webhooks (<https://www.standardwebhooks.com>). With `format` the same events are sent as
//! GitHub's `repository_dispatch`, or as flat objects.

mod event;
mod format;
mod shorten;
mod sign;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};

use super::common::{Fields, SinkError};
use super::kind::{Batch, BatchShape, Endpoint, Kind, Message};
use event::Event;
use promptd_journal::ReadError;
use promptd_model::Head;
use promptd_model::{WebhookEvent, WebhookFormat};
use sign::Keys;

/// The version of GitHub's API; a configured header has precedence.
const GITHUB_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-github-api-version"),
    HeaderValue::from_static("2022-11-28"),
);

/// The events that are sent as `repository_dispatch`.
const GITHUB_EVENTS: [WebhookEvent; 2] = [WebhookEvent::SessionCreated, WebhookEvent::TurnEnded];

/// A `webhook` sink.
pub(super) struct Webhook {
    endpoint: Endpoint,
    format: WebhookFormat,
    /// The events that are sent.
    events: Vec<WebhookEvent>,
    keys: Keys,
}

impl Webhook {
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, SinkError> {
        fields.only(&["url", "headers", "format", "secret", "token", "events"])?;
        let mut endpoint = fields.json_endpoint()?;
        let headers = &mut endpoint.headers;
        let format = fields.request.format.unwrap_or_default();
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
                endpoint.secrets.push(token.to_owned());
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
        endpoint
            .secrets
            .extend(fields.request.secret.iter().flat_map(|secret| sign::texts(secret)));
        Ok(Self {
            events: events(fields, format)?,
            endpoint,
            format,
            keys,
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

impl Kind for Webhook {
    fn shape(&self) -> BatchShape {
        BatchShape {
            single: true,
            creation: self.events.contains(&WebhookEvent::SessionCreated),
            ..BatchShape::of_bytes(usize::MAX)
        }
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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
        let mut message = self.endpoint.post(&self.endpoint.url, body, (event.seq, event.seq));
        if self.format != WebhookFormat::Github {
            let id = sign::id(&batch.info.session, batch.epoch, event.seq);
            let signature = self.keys.headers(&id, batch.now, &message.body);
            message.headers.extend(signature);
        }
        message
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
