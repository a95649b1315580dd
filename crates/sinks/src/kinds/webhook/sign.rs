//! Signatures of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use reqwest::header::{HeaderName, HeaderValue};
use ring::hmac;

const PREFIX: &str = "whsec_";

/// Allowed length of a secret in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The keys that sign bodies. There may be several, so that keys can be rotated.
#[derive(Default)]
pub(super) struct Keys(Vec<hmac::Key>);

impl Keys {
    /// Parses secrets, separated by spaces.
    pub(super) fn of(secrets: &str) -> Result<Self, &'static str> {
        let keys: Vec<hmac::Key> = secrets.split_whitespace().map(key).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err("is empty; leave it out, or write whsec_ and 24 to 64 bytes in base64");
        }
        Ok(Self(keys))
    }

    /// The signature headers of one attempt.
    pub(super) fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = vec![(WEBHOOK_ID, id.to_owned())];
        if !self.0.is_empty() {
            let time = now.as_second().to_string();
            let content = [id.as_bytes(), time.as_bytes(), body].join(&b'.');
            let signature = |key| format!("v1,{}", BASE64.encode(hmac::sign(key, &content)));
            let signatures: Vec<String> = self.0.iter().map(signature).collect();
            headers.push((WEBHOOK_TIMESTAMP, time));
            headers.push((WEBHOOK_SIGNATURE, signatures.join(" ")));
        }
        // Ids and epochs only have characters that are allowed in headers.
        let valid = |(name, value)| Some((name, HeaderValue::try_from(value).ok()?));
        headers.into_iter().filter_map(valid).collect()
    }
}

fn key(secret: &str) -> Result<hmac::Key, &'static str> {
    let bytes = secret.strip_prefix(PREFIX).and_then(|text| BASE64.decode(text).ok());
    let bytes = bytes.ok_or("is not whsec_ and base64; `openssl rand -base64 32` makes what comes behind whsec_")?;
    if !LENGTH.contains(&bytes.len()) {
        return Err("must have 24 to 64 bytes; `openssl rand -base64 32` makes what comes behind whsec_");
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Each secret with and without its prefix, for masking.
pub(super) fn texts(secrets: &str) -> Vec<String> {
    let both = |secret: &str| [Some(secret.to_owned()), secret.strip_prefix(PREFIX).map(str::to_owned)];
    secrets.split_whitespace().flat_map(both).flatten().collect()
}

/// The id of an event: the same at every attempt. It may not contain a dot, which separates the signed parts.
pub(super) fn id(session: &str, epoch: &str, seq: u64) -> String {
    format!("{session}:{epoch}:{seq}").replace('.', "%2E")
}
