//! JSON-RPC 2.0 as ACP has it over WebSocket: one message per frame, no batches; pure.

use std::sync::Arc;

use agent_client_protocol_schema::v1::{
    Error, ErrorCode, JsonRpcMessage, Meta, Notification, Request, RequestId, Response,
};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::http::body::json_text;
use crate::api::http::problem::Problem;
use promptd_agents::repair_json;

/// Our member of `_meta`.
pub(super) const META: &str = "promptd";

/// A message of a client.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    /// It expects a response.
    Request {
        id: RequestId,
        method: String,
        params: Value,
    },
    /// It expects none.
    Notification { method: String, params: Value },
    /// It answers a request of ours.
    Response {
        id: RequestId,
        result: Result<Value, Value>,
    },
}

/// A frame that is no message; the error says why.
#[derive(Debug, PartialEq)]
pub(super) struct InvalidFrame {
    /// The frame's own id, where it could be read.
    pub(super) id: RequestId,
    pub(super) error: Box<Error>,
}

/// Parses a frame.
pub(super) fn parse(text: &str) -> Result<Incoming, InvalidFrame> {
    // JavaScript cuts texts in the middle of a character.
    let text = repair_json(text);
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        let why = format!("the frame is not JSON ({error}); send one JSON-RPC message per text frame");
        InvalidFrame {
            id: id_in(&text),
            error: Box::new(rpc_error(ErrorCode::ParseError, why)),
        }
    })?;
    let Value::Object(mut message) = value else {
        let why = "the frame is no JSON object; send one JSON-RPC message per text frame, batches are not supported";
        return Err(invalid(RequestId::Null, why));
    };
    let id = message.remove("id").map(request_id);
    let readable = id.clone().flatten().unwrap_or(RequestId::Null);
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(readable, "\"jsonrpc\" must be \"2.0\""));
    }
    if id == Some(None) {
        return Err(invalid(RequestId::Null, "\"id\" must be a string or a whole number"));
    }
    if let Err(problem) = json_text::check(text.as_bytes()) {
        return Err(invalid(readable, problem.detail()));
    }
    match message.remove("method") {
        Some(Value::String(method)) => {
            request_or_notification(id.flatten(), method, message).map_err(|why| invalid(readable, why))
        }
        Some(_) => Err(invalid(readable, "\"method\" must be a string")),
        None => response_to_us(id.flatten(), message).ok_or_else(|| {
            invalid(
                RequestId::Null,
                "there is no \"method\", and no answer to a request either",
            )
        }),
    }
}

/// The id of a frame of which something else cannot be read, such as a value that is nested too deeply.
fn id_in(text: &str) -> RequestId {
    #[derive(Deserialize)]
    struct Head {
        id: Value,
    }
    let head = serde_json::from_str::<Head>(text).ok();
    head.and_then(|head| request_id(head.id)).unwrap_or(RequestId::Null)
}

fn request_or_notification(
    id: Option<RequestId>,
    method: String,
    mut message: Map<String, Value>,
) -> Result<Incoming, &'static str> {
    let params = message.remove("params").unwrap_or(Value::Null);
    if !(params.is_object() || params.is_null()) {
        return Err("\"params\" must be an object");
    }
    Ok(match id {
        Some(id) => Incoming::Request { id, method, params },
        None => Incoming::Notification { method, params },
    })
}

fn response_to_us(id: Option<RequestId>, mut message: Map<String, Value>) -> Option<Incoming> {
    let id = id?;
    let result = match message.remove("error") {
        Some(error) => Err(error),
        None => Ok(message.remove("result")?),
    };
    Some(Incoming::Response { id, result })
}

fn request_id(value: Value) -> Option<RequestId> {
    match value {
        Value::String(text) => Some(RequestId::Str(text)),
        Value::Number(number) => number.as_i64().map(RequestId::Number),
        Value::Null => Some(RequestId::Null),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An error with its own message.
pub(super) fn rpc_error(code: ErrorCode, message: impl Into<String>) -> Error {
    Error::new(code.into(), message)
}

fn invalid(id: RequestId, why: &str) -> InvalidFrame {
    InvalidFrame {
        id,
        error: Box::new(rpc_error(ErrorCode::InvalidRequest, why)),
    }
}

/// The parameters of a method; what is missing counts as empty.
pub(super) fn params<T: DeserializeOwned>(params: Value) -> Result<T, Error> {
    let params = if params.is_null() { json!({}) } else { params };
    serde_path_to_error::deserialize(params).map_err(|error| {
        let field = error.path().to_string();
        // serde quotes the value that it found, which may be a secret.
        let what = if field.starts_with("mcpServers") {
            "it is a list of servers, such as {\"name\":\"docs\",\"command\":\"/bin/docs\",\"args\":[],\"env\":[]} or \
             {\"type\":\"http\",\"name\":\"docs\",\"url\":\"https://…\",\"headers\":[]}"
                .to_owned()
        } else {
            error.inner().to_string()
        };
        // A dot is the whole value.
        let message = if field == "." { what } else { format!("{field}: {what}") };
        rpc_error(ErrorCode::InvalidParams, message)
    })
}

/// A result as JSON.
pub(super) fn value(of: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(of).map_err(|cause| rpc_error(ErrorCode::InternalError, cause.to_string()))
}

/// Our part of a `_meta`, where ACP lets implementations put what its types do not have.
pub(super) fn meta(value: Value) -> Meta {
    Meta::from_iter([(META.to_owned(), value)])
}

/// A problem as an error of JSON-RPC, with the codes of ACP.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let code = match problem.status() {
            StatusCode::NOT_FOUND => ErrorCode::ResourceNotFound,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::InvalidParams,
            _ => ErrorCode::InternalError,
        };
        let mut data = problem.extra().clone();
        data.insert("status".to_owned(), problem.status().as_u16().into());
        data.insert("code".to_owned(), problem.code().into());
        rpc_error(code, problem.detail()).data(Value::Object(data))
    }
}

/// The frame that answers a request.
pub(super) fn response(id: RequestId, result: Result<Value, Error>) -> String {
    frame(Response::new(id, result))
}

/// The frame of a notification.
pub(super) fn notification(method: &str, params: impl Serialize) -> String {
    let method = Arc::from(method);
    frame(Notification {
        method,
        params: Some(params),
    })
}

/// The frame of a request.
pub(super) fn request(id: RequestId, method: &str, params: impl Serialize) -> String {
    let method = Arc::from(method);
    frame(Request {
        id,
        method,
        params: Some(params),
    })
}

fn frame(message: impl Serialize) -> String {
    // All of ACP's types can be written as JSON.
    serde_json::to_string(&JsonRpcMessage::wrap(message)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: &str) -> i32 {
        parse(text).unwrap_err().error.code.into()
    }

    #[test]
    fn a_frame_is_a_request_a_notification_or_a_response() {
        let id = RequestId::Number(7);
        let params = json!({ "a": 1 });
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1}}"#),
            Ok(Incoming::Request {
                id: id.clone(),
                method: "m".to_owned(),
                params
            })
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","method":"m"}"#),
            Ok(Incoming::Notification {
                method: "m".to_owned(),
                params: Value::Null
            })
        );
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":7,"result":null}"#),
            Ok(Incoming::Response {
                id: id.clone(),
                result: Ok(Value::Null)
            })
        );
        let error = json!({ "code": 1 });
        assert_eq!(
            parse(r#"{"jsonrpc":"2.0","id":7,"error":{"code":1}}"#),
            Ok(Incoming::Response { id, result: Err(error) })
        );
    }

    #[test]
    fn a_frame_with_half_a_character_is_read() {
        let frame = r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"text":"cut \ud83d here"}}"#;
        let read = Incoming::Request {
            id: RequestId::Number(7),
            method: "m".to_owned(),
            params: json!({ "text": "cut \u{fffd} here" }),
        };
        assert_eq!(parse(frame), Ok(read));
    }

    #[test]
    fn a_frame_that_cannot_be_read_is_answered_under_its_id() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for params in [&*deep, r#"{"number":1e999}"#] {
            let frame = format!(r#"{{"jsonrpc":"2.0","id":"a","method":"m","params":{{"deep":{params}}}}}"#);
            assert_eq!(
                parse(&frame).unwrap_err().id,
                RequestId::Str("a".to_owned()),
                "{params}"
            );
        }
    }

    #[test]
    fn an_invalid_frame_has_the_error_code_of_json_rpc() {
        assert_eq!(code("hello"), -32700);
        assert_eq!(code(""), -32700);
        for wrong in [
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#,
            r#"{"id":1,"method":"m"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":2}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
        ] {
            assert_eq!(code(wrong), -32600, "{wrong}");
        }
        let refusal = parse(r#"{"jsonrpc":"2.0","id":"a","method":2}"#).unwrap_err();
        assert_eq!(refusal.id, RequestId::Str("a".to_owned()));
    }

    fn id() -> impl Strategy<Value = RequestId> {
        prop_oneof![any::<i64>().prop_map(RequestId::Number), ".*".prop_map(RequestId::Str)]
    }

    /// Texts that are nearly messages.
    fn nearly() -> impl Strategy<Value = String> {
        let member = prop_oneof![
            Just(r#""jsonrpc":"2.0""#.to_owned()),
            Just(r#""method":"session/prompt""#.to_owned()),
            (-3_i64..3).prop_map(|id| format!("\"id\":{id}")),
            "\"(id|method|params|result|error|jsonrpc)\":(null|true|1|1e9|\"x\"|\\[\\]|\\{\\})",
        ];
        prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(text in prop_oneof![".*", nearly()]) {
            if let Err(refusal) = parse(&text) {
                let code = i32::from(refusal.error.code);
                prop_assert!(code == -32700 || code == -32600);
                // Whatever was said, the refusal itself is a message.
                prop_assert!(parse(&response(refusal.id, Err(*refusal.error))).is_ok());
            }
        }

        #[test]
        fn what_is_written_is_read_again(id in id(), method in "[a-z_$/]{1,20}", text in ".*") {
            let params = json!({ "text": text });
            prop_assert_eq!(
                parse(&request(id.clone(), &method, &params)),
                Ok(Incoming::Request { id: id.clone(), method: method.clone(), params: params.clone() })
            );
            prop_assert_eq!(
                parse(&notification(&method, &params)),
                Ok(Incoming::Notification { method, params: params.clone() })
            );
            prop_assert_eq!(
                parse(&response(id.clone(), Ok(params.clone()))),
                Ok(Incoming::Response { id, result: Ok(params) })
            );
        }
    }
}
