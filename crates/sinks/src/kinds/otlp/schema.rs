//! The part of OTLP's messages that is used, in their JSON mapping: names in camel case, 64-bit integers as text, ids in
//! hex, enums as numbers (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Serialize;

/// `ExportLogsServiceRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogsRequest {
    pub(super) resource_logs: [ResourceLogs; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceLogs {
    pub(super) resource: Resource,
    pub(super) scope_logs: [ScopeLogs; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScopeLogs {
    pub(super) scope: Scope,
    pub(super) log_records: Vec<LogRecord>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogRecord {
    pub(super) time_unix_nano: Nanos,
    pub(super) observed_time_unix_nano: Nanos,
    pub(super) severity_number: u8,
    pub(super) severity_text: &'static str,
    pub(super) body: AnyValue,
    pub(super) attributes: Vec<KeyValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_name: Option<String>,
}

/// `ExportTraceServiceRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TracesRequest {
    pub(super) resource_spans: [ResourceSpans; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceSpans {
    pub(super) resource: Resource,
    pub(super) scope_spans: [ScopeSpans; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScopeSpans {
    pub(super) scope: Scope,
    pub(super) spans: Vec<Span>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span {
    pub(super) trace_id: String,
    pub(super) span_id: String,
    pub(super) name: String,
    pub(super) kind: u8,
    pub(super) start_time_unix_nano: Nanos,
    pub(super) end_time_unix_nano: Nanos,
    pub(super) attributes: Vec<KeyValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) events: Vec<SpanEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<SpanStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SpanEvent {
    pub(super) time_unix_nano: Nanos,
    pub(super) name: &'static str,
}

#[derive(Serialize)]
pub(super) struct SpanStatus {
    pub(super) message: String,
    pub(super) code: u8,
}

#[derive(Serialize)]
pub(super) struct Resource {
    pub(super) attributes: Vec<KeyValue>,
}

impl Resource {
    pub(super) fn of(epoch: &str) -> Self {
        let attributes = vec![
            KeyValue::of("service.name", "promptd"),
            KeyValue::of("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::of("service.instance.id", epoch),
        ];
        Self { attributes }
    }
}

#[derive(Serialize)]
pub(super) struct Scope {
    name: &'static str,
    version: &'static str,
}

impl Scope {
    pub(super) const OURS: Self = Self {
        name: "promptd",
        version: env!("CARGO_PKG_VERSION"),
    };
}

#[derive(Serialize)]
pub(super) struct KeyValue {
    key: &'static str,
    value: AnyValue,
}

impl KeyValue {
    pub(super) fn of(key: &'static str, value: impl Into<AnyValue>) -> Self {
        Self {
            key,
            value: value.into(),
        }
    }
}

/// A value with its type.
#[derive(Serialize)]
pub(super) enum AnyValue {
    #[serde(rename = "stringValue")]
    Text(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "doubleValue")]
    Double(f64),
    #[serde(rename = "bytesValue")]
    Bytes(String),
}

impl AnyValue {
    /// Text, or bytes if it is not UTF-8.
    pub(super) fn of_bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Bytes(BASE64.encode(error.as_bytes())),
        }
    }
}

impl From<&str> for AnyValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AnyValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for AnyValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for AnyValue {
    /// The schema's integers are signed.
    fn from(value: u64) -> Self {
        Self::Int(value.min(i64::MAX.unsigned_abs()).to_string())
    }
}

impl From<u32> for AnyValue {
    fn from(value: u32) -> Self {
        Self::from(u64::from(value))
    }
}

impl From<f64> for AnyValue {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

/// Nanoseconds since 1970, as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nanos(u64);

impl Nanos {
    pub(super) fn of(time: Timestamp) -> Self {
        Self(u64::try_from(time.as_nanosecond()).unwrap_or_default())
    }
}

impl Serialize for Nanos {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
