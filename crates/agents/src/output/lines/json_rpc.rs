//! JSON-RPC 2.0 in lines (<https://www.jsonrpc.org/specification>), as the agents' protocols use it.

use std::borrow::Cow;

use agent_client_protocol_schema::v1::RequestId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::output::cause;
use crate::output::observer::limited;
use promptd_model::Cause;

/// "The method does not exist / is not available."
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// "Invalid method parameter(s)."
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// ACP's code for a request that its sender has cancelled.
pub(crate) const REQUEST_CANCELLED: i64 = -32800;

/// One message. Parameters and results stay text until a reader needs them.
pub(crate) enum Message<'a> {
    Request {
        id: RequestId,
        method: Cow<'a, str>,
        params: &'a str,
    },
    Notification {
        method: Cow<'a, str>,
        params: &'a str,
    },
    Result {
        id: RequestId,
        result: &'a str,
    },
    Error {
        id: RequestId,
        error: Failure,
    },
}

/// A JSON-RPC error. It may have any shape: an error must never be taken for a result.
#[derive(Default)]
pub(crate) struct Failure {
    pub(crate) code: i64,
    pub(crate) message: String,
    data: Option<Value>,
}

impl Failure {
    fn of(error: &RawValue) -> Self {
        // JavaScript can write half a surrogate pair, which serde does not read.
        let mut error = serde_json::from_str(error.get()).unwrap_or_else(|_| json!(error.get()));
        let member = |name: &str| error.get(name);
        let code = member("code").and_then(Value::as_i64).unwrap_or_default();
        let message = member("message").and_then(Value::as_str).map(str::to_owned);
        let message = message.unwrap_or_else(|| match &error {
            Value::String(text) => text.clone(),
            error => error.to_string(),
        });
        let data = error.get_mut("data").map(Value::take);
        Self { code, message, data }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    id: Option<RequestId>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Reads a line; `None` where it is no JSON-RPC message.
pub(crate) fn parse(line: &[u8]) -> Option<Message<'_>> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let params = line.params.map_or("null", RawValue::get);
    Some(match (line.id, line.method, line.error) {
        (Some(id), Some(method), _) => Message::Request { id, method, params },
        (None, Some(method), _) => Message::Notification { method, params },
        (Some(id), None, Some(error)) => Message::Error {
            id,
            error: Failure::of(error),
        },
        (Some(id), None, None) => Message::Result {
            id,
            result: line.result.map_or("null", RawValue::get),
        },
        (None, None, _) => return None,
    })
}

impl Failure {
    /// The message, followed by what `data` adds: some agents write "Internal error" and put the reason into `data`.
    pub(crate) fn text(&self) -> String {
        let data = self.data.as_ref();
        let details = data.and_then(|data| {
            let member = ["details", "message"].iter().find_map(|name| data.get(name));
            member.unwrap_or(data).as_str()
        });
        match details {
            Some(details) if !self.message.contains(details) => limited(&format!("{}: {details}", self.message)),
            _ => limited(&self.message),
        }
    }

    /// The cause. Some agents put the HTTP status of the model's API into `code`.
    pub(crate) fn cause(&self) -> Cause {
        let status = u16::try_from(self.code)
            .ok()
            .filter(|status| (400..600).contains(status));
        cause::classify(status, &self.text())
    }
}

/// A message as a line. Its type never fails to serialize.
pub(crate) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A parameter or result as JSON. Its type never fails to serialize.
pub(crate) fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// A JSON-RPC error to answer with.
pub(crate) fn error(code: i64, message: &str) -> Value {
    json!({ "code": code, "message": message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_any_shape_is_an_error() {
        for (error, code, text) in [
            (
                r#"{"code":-32603,"message":"Internal error","data":{"details":"why"}}"#,
                -32603,
                "Internal error: why",
            ),
            (r#"{"code":"ENOENT","message":"no such session"}"#, 0, "no such session"),
            (r#"{"code":1.5,"message":7}"#, 0, r#"{"code":1.5,"message":7}"#),
            (r#""no such session""#, 0, "no such session"),
            ("[]", 0, "[]"),
            (r#""\ud83d""#, 0, r#""\ud83d""#),
        ] {
            let line = format!(r#"{{"id":2,"error":{error}}}"#);
            let Some(Message::Error { error, .. }) = parse(line.as_bytes()) else {
                panic!("{line}")
            };
            assert_eq!((error.code, error.text().as_str()), (code, text), "{line}");
        }
        let result = parse(br#"{"id":2,"error":null,"result":{}}"#);
        assert!(matches!(result, Some(Message::Result { .. })));
    }
}
