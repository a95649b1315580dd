//! Tests of [`super`], with the official schema.

use std::io::Read as _;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::kinds::kind::Line;
use crate::kinds::support_tests::{Journal, ended, json as body, keys_differ, refused, sink};
use promptd_model::{Cause, Status, StopReason, Stream, TurnEnded, Usage};

fn otlp() -> Box<dyn Kind> {
    sink(json!({"kind":"otlp","url":"http://collector:4318"})).unwrap()
}

/// Parses a body with the official types, and checks that they know all fields.
fn official<T: serde::de::DeserializeOwned + Serialize>(message: &Message) -> T {
    let ours = body(message);
    let read: T = serde_json::from_value(ours.clone()).unwrap();
    contains(&serde_json::to_value(&read).unwrap(), &ours, "");
    read
}

/// Whether `theirs` contains all of `ours`; it may also have fields with default values.
fn contains(theirs: &Value, ours: &Value, place: &str) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in ours {
                let place = format!("{place}.{name}");
                contains(
                    theirs.get(name).unwrap_or_else(|| panic!("{place} is unknown")),
                    value,
                    &place,
                );
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            assert_eq!(theirs.len(), ours.len(), "{place}");
            for (theirs, ours) in theirs.iter().zip(ours) {
                contains(theirs, ours, place);
            }
        }
        _ => assert_eq!(theirs, ours, "{place}"),
    }
}

fn logs(messages: &[Message]) -> Vec<LogRecord> {
    let message = messages.iter().find(|message| message.part == Some("logs")).unwrap();
    let mut request: ExportLogsServiceRequest = official(message);
    request.resource_logs.remove(0).scope_logs.remove(0).log_records
}

fn spans(messages: &[Message]) -> Vec<Span> {
    let message = messages.iter().find(|message| message.part == Some("traces")).unwrap();
    let mut request: ExportTraceServiceRequest = official(message);
    request.resource_spans.remove(0).scope_spans.remove(0).spans
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.clone()) {
        Some(Any::StringValue(text)) => text,
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::DoubleValue(number)) => number.to_string(),
        Some(Any::BoolValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found: Vec<_> = attributes.iter().filter(|pair| pair.key == key).collect();
    assert!(found.len() <= 1, "{key} is given twice");
    found.first().map(|pair| text(pair.value.as_ref())).unwrap_or_default()
}

fn a_turn(end: TurnEnded) -> Journal {
    let mut journal = Journal::default();
    journal
        .begin(1)
        .stdout(b"hello", true)
        .output(1, Stream::Stderr, b"\xFFx", false, true)
        .end(1, end);
    journal
}

#[test]
fn every_record_is_a_log_record() {
    let messages = a_turn(ended(Status::Completed)).send_all(&*otlp());
    assert_eq!(messages[0].url.as_str(), "http://collector:4318/v1/logs");
    let logs = logs(&messages);
    assert_eq!(logs.len(), 5);
    let names: Vec<&str> = logs.iter().map(|log| log.event_name.as_str()).collect();
    assert_eq!(
        names,
        ["promptd.prompt", "promptd.started", "", "", "promptd.turn_ended"]
    );
    let stdout = &logs[2];
    assert_eq!(text(stdout.body.as_ref()), "hello");
    assert_eq!((stdout.severity_number, stdout.severity_text.as_str()), (9, "INFO"));
    assert_eq!(stdout.time_unix_nano, 1_795_228_803_000_000_000);
    assert_eq!(stdout.observed_time_unix_nano, stdout.time_unix_nano);
    assert_eq!(stdout.trace_id.len(), 16);
    assert_eq!(attribute(&stdout.attributes, "log.iostream"), "stdout");
    assert_eq!(attribute(&stdout.attributes, "log.record.uid"), "s.1:e1:3");
    assert_eq!(attribute(&stdout.attributes, "gen_ai.conversation.id"), "s.1");
    assert_eq!(attribute(&stdout.attributes, "promptd.seq"), "3");
    let bytes = logs[3].body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(bytes, Some(Any::BytesValue(b"\xFFx".to_vec())));
    assert_eq!(attribute(&logs[3].attributes, "promptd.eol"), "false");
    assert_eq!(attribute(&logs[3].attributes, "promptd.late"), "true");
    let prompt: Value = serde_json::from_str(&text(logs[0].body.as_ref())).unwrap();
    assert_eq!(prompt["text"], "do it");
}

#[test]
fn resource_has_the_epoch() {
    let messages = a_turn(ended(Status::Completed)).send_all(&*otlp());
    let logs: ExportLogsServiceRequest = official(&messages[0]);
    let traces: ExportTraceServiceRequest = official(&messages[1]);
    let resources = [
        logs.resource_logs[0].resource.clone().unwrap(),
        traces.resource_spans[0].resource.clone().unwrap(),
    ];
    for resource in resources {
        assert_eq!(attribute(&resource.attributes, "service.name"), "promptd");
        assert_eq!(
            attribute(&resource.attributes, "service.version"),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(attribute(&resource.attributes, "service.instance.id"), "e1");
    }
}

#[test]
fn ended_turn_is_one_trace() {
    let usage = Usage {
        input_tokens: Some(110),
        output_tokens: Some(20),
        cached_tokens: Some(30),
        cost_usd: Some(0.25),
    };
    let messages = a_turn(TurnEnded {
        stop_reason: Some(StopReason::EndTurn),
        usage: Some(usage),
        agent_session_id: Some("a1".into()),
        ..ended(Status::Completed)
    })
    .send_all(&*otlp());
    assert_eq!(messages[1].url.as_str(), "http://collector:4318/v1/traces");
    assert!(keys_differ(&messages));
    let spans = spans(&messages);
    let [span] = spans.as_slice() else { panic!("one span") };
    assert_eq!((span.name.as_str(), span.kind), ("invoke_agent claude", 1));
    assert_eq!(span.start_time_unix_nano, 1_795_228_801_000_000_000);
    assert_eq!(span.events[0].time_unix_nano, 1_795_228_802_000_000_000);
    assert_eq!(span.end_time_unix_nano, 1_795_228_805_000_000_000);
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    assert!(span.parent_span_id.is_empty() && span.status.is_none());
    assert!(logs(&messages).iter().all(|log| log.trace_id == span.trace_id));
    for (key, value) in [
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.provider.name", "anthropic"),
        ("gen_ai.agent.name", "claude"),
        ("gen_ai.agent.id", "writer/1"),
        ("gen_ai.conversation.id", "s.1"),
        ("gen_ai.request.model", "sonnet"),
        ("gen_ai.usage.input_tokens", "110"),
        ("gen_ai.usage.output_tokens", "20"),
        ("gen_ai.usage.cache_read.input_tokens", "30"),
        ("promptd.cost_usd", "0.25"),
        ("promptd.status", "completed"),
        ("promptd.stop_reason", "end_turn"),
        ("promptd.agent_session_id", "a1"),
        ("promptd.attempt", "1"),
        ("error.type", ""),
    ] {
        assert_eq!(attribute(&span.attributes, key), value, "{key}");
    }
}

#[test]
fn failure_sets_span_status_and_log_severity() {
    for (status, cause, kind, code, severity) in [
        (Status::Failed, Some(Cause::Quota), "quota", 2, 17),
        (Status::Lost, None, "lost", 2, 17),
        (Status::Cancelled, Some(Cause::Stopped), "", 0, 13),
    ] {
        let error = Some("ä".repeat(4000));
        let messages = a_turn(TurnEnded {
            cause,
            error,
            ..ended(status)
        })
        .send_all(&*otlp());
        let span = &spans(&messages)[0];
        assert_eq!(attribute(&span.attributes, "error.type"), kind);
        let span_status = span.status.clone().unwrap_or_default();
        assert_eq!(span_status.code, code);
        assert!(span_status.message.len() <= 4096);
        assert_eq!(logs(&messages)[4].severity_number, severity);
    }
}

#[test]
fn ids_are_stable_and_distinct() {
    let mut journal = a_turn(ended(Status::Completed));
    journal.begin(2).end(2, ended(Status::Completed));
    let messages = journal.send_all(&*otlp());
    assert_eq!(messages, journal.send_all(&*otlp()));
    let spans = spans(&messages);
    assert_ne!(spans[0].trace_id, spans[1].trace_id);
    assert_ne!(spans[0].span_id, spans[1].span_id);
    let info = crate::kinds::support_tests::info();
    assert_eq!(ids::trace(&info, 1), "096ce838d8cb02a9cf00b6cc4fcbf8b7");
    assert_ne!(ids::span(&info, 1, "e1"), ids::span(&info, 1, "e2"));
}

#[test]
fn unknown_record_type_is_sent() {
    let mut journal = Journal::default();
    journal.raw(1, "permission", ",\"id\":\"p1\"");
    let messages = journal.send_all(&*otlp());
    assert_eq!(messages.len(), 1, "no empty traces");
    assert_eq!(logs(&messages)[0].event_name, "promptd.permission");
}

#[test]
fn url_may_be_base_or_route() {
    for (url, logs) in [
        ("https://h", "https://h/v1/logs"),
        ("https://h/otlp/", "https://h/otlp/v1/logs"),
        ("https://h/otlp/v1/logs", "https://h/otlp/v1/logs"),
        ("https://h/v1/traces/?key=1", "https://h/v1/logs?key=1"),
    ] {
        let messages = a_turn(ended(Status::Completed)).send_all(&*sink(json!({"kind":"otlp","url":url})).unwrap());
        assert_eq!(messages[0].url.as_str(), logs);
        assert_eq!(messages[1].url.as_str(), logs.replace("logs", "traces"));
    }
}

#[test]
fn bodies_can_be_gzip() {
    let zipped = sink(json!({"kind":"otlp","url":"https://h","gzip":true})).unwrap();
    let journal = a_turn(ended(Status::Completed));
    let messages = journal.send_all(&*zipped);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*messages[0].body)
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain, journal.send_all(&*otlp())[0].body);
    assert_eq!(messages[0].headers["content-encoding"], "gzip");
}

#[test]
fn errors_name_the_field_and_hide_secrets() {
    assert_eq!(refused(json!({"kind":"otlp"})), "url of the otlp sink is missing");
    assert_eq!(
        refused(json!({"kind":"otlp","url":"https://h","view":"raw"})),
        "view of the otlp sink means nothing to it; besides kind and name it takes url, headers, gzip"
    );
    let headers = json!({"api-key": "abcdefghij"});
    let kind = sink(json!({"kind":"otlp","url":"https://h","headers":headers})).unwrap();
    assert_eq!(kind.endpoint().secrets, ["abcdefghij"]);
    assert_eq!(format!("{kind:?}"), "Kind");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_output_fits_the_schema(bytes in proptest::collection::vec(any::<u8>(), 0..60), eol: bool) {
        let mut journal = Journal::default();
        journal.stdout(&bytes, eol);
        let body = logs(&journal.send_all(&*otlp()))[0].body.clone().and_then(|body| body.value);
        let back = match body {
            Some(Any::StringValue(text)) => text.into_bytes(),
            Some(Any::BytesValue(bytes)) => bytes,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(back, bytes);
    }

    #[test]
    fn any_turn_fits_the_schema(cost in any::<f64>(), tokens in any::<u64>(), error in "\\PC{0,20}") {
        let usage = Some(Usage { input_tokens: Some(tokens), cost_usd: Some(cost), ..Usage::default() });
        let journal = a_turn(TurnEnded { usage, error: Some(error), ..ended(Status::Failed) });
        prop_assert_eq!(spans(&journal.send_all(&*otlp())).len(), 1);
    }

    #[test]
    fn garbage_does_not_panic(kind in "stdout|turn_ended|x", rest in "[ -~]{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut journal = Journal::default();
        journal.raw(1, &kind, &rest);
        journal.lines.push(Line { seq: 2, text: bytes.into() });
        for message in journal.send_all(&*otlp()) {
            prop_assert!(body(&message).is_object());
        }
    }
}
