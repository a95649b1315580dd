//! Whole HTTP responses, for tests that check more than the body.

use futures_util::StreamExt as _;
use serde_json::Value;

use super::{Server, within};

/// An answer with everything that was in it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub bytes: bytes::Bytes,
    /// `null` where the body is not JSON.
    pub body: Value,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::read(within("an answer", request.send()).await.unwrap()).await
    }

    /// Reads an answer to its end, which may take long on a busy machine, as long as something comes.
    pub async fn read(answer: reqwest::Response) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let (mut chunks, mut bytes) = (answer.bytes_stream(), bytes::BytesMut::new());
        while let Some(chunk) = within("more of an answer", chunks.next()).await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        let bytes = bytes.freeze();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self {
            status,
            headers,
            bytes,
            body,
        }
    }

    /// A header as text; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }

    /// Head and body as one text, for searching.
    pub fn text(&self) -> String {
        format!("{:?} {}", self.headers, String::from_utf8_lossy(&self.bytes))
    }
}

impl Server {
    /// A body exactly as given, with a content type.
    pub async fn raw(&self, method: &str, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(method, path);
        let request = if kind.is_empty() {
            request
        } else {
            request.header("content-type", kind)
        };
        Answer::of(request.body(body)).await
    }

    /// JSON, or nothing where `body` is `null`.
    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path);
        Answer::of(if body.is_null() { request } else { request.json(body) }).await
    }
}
