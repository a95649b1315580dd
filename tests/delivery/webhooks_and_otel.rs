//! Webhooks and OpenTelemetry, through the real binary: signatures that the reference library accepts, bodies that the
//! official schema knows, each event once and in order, also when the backend refuses at first.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::{Value, json};
use support::Server;
use support::hostile::{Act, Backend, Reply, Seen};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw1234567890ab";

fn taken(backend: &Backend) -> Vec<Arc<Seen>> {
    backend
        .committed()
        .into_iter()
        .filter(|seen| matches!(seen.answered, support::hostile::Answered::Status(200..300)))
        .collect()
}

#[tokio::test]
async fn events_are_signed_ordered_and_unique() {
    let receiver = Backend::start();
    receiver.script(|arrival| {
        if arrival.tries < 2 {
            Act::Answer(Reply::status(503))
        } else {
            Act::Answer(Reply::ok())
        }
    });
    let server = Server::start().await;
    let sinks = json!([{ "kind": "webhook", "url": receiver.url("/hook"), "secret": SECRET }]);
    let id = server.pushed("echo hello; exit 3", sinks).await;
    server.settled(&id).await;
    receiver
        .wait_until("three events", |log| log.answered(200) + log.answered(204) >= 3)
        .await;
    let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
    let mut types = Vec::new();
    for seen in taken(&receiver) {
        let mut headers = reqwest::header::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, seen.request.header(name).parse().unwrap());
        }
        webhook.verify(&seen.request.body, &headers).unwrap();
        let event = seen.json();
        assert_eq!(event["data"]["session"], id.as_str(), "{event}");
        types.push(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(types, ["session.created", "turn.started", "turn.ended"]);
    let last = taken(&receiver).pop().unwrap().json();
    assert_eq!(last["data"]["status"], "failed", "{last}");
    assert_eq!(
        server.sink_when(&id, "webhook", |sink| sink["lag_records"] == 0).await["state"],
        "idle"
    );
}

#[tokio::test]
async fn github_and_flat_formats_are_supported() {
    let (github, flat) = (Backend::start(), Backend::start());
    let server = Server::start().await;
    let sinks = json!([
        { "kind": "webhook", "name": "github", "url": github.url("/repos/o/r/dispatches"), "format": "github", "token": "ghp_0123456789abcdef" },
        { "kind": "webhook", "name": "flat", "url": flat.url("/hook"), "format": "plain", "events": ["turn.ended"] },
    ]);
    let id = server.pushed("echo done", sinks).await;
    server.settled(&id).await;
    github.wait_until("both dispatches", |log| log.committed() >= 2).await;
    flat.wait_until("the end", |log| log.committed() >= 1).await;
    let sent = github.committed();
    let types: Vec<Value> = sent.iter().map(|seen| seen.json()["event_type"].clone()).collect();
    assert_eq!(types, ["sandbox_created", "execution_complete"]);
    assert_eq!(sent[0].request.header("authorization"), "Bearer ghp_0123456789abcdef");
    assert_eq!(sent[0].request.header("accept"), "application/vnd.github+json");
    let event = flat.committed()[0].json();
    assert_eq!(event["event"], "turn.ended", "{event}");
    assert!(
        event
            .as_object()
            .unwrap()
            .values()
            .all(|value| !value.is_object() && !value.is_array()),
        "{event}"
    );
    // The flat one gets nothing else.
    server.sink_when(&id, "flat", |sink| sink["lag_records"] == 0).await;
    assert_eq!(flat.committed().len(), 1);
}

#[tokio::test]
async fn collector_gets_logs_and_traces() {
    let collector = Backend::start();
    let server = Server::start().await;
    let sinks = json!([{ "kind": "otlp", "url": collector.url("/"), "headers": { "x-api-key": "collector-key-1" }, "gzip": true }]);
    let id = server.pushed("echo one; echo two >&2", sinks).await;
    server.settled(&id).await;
    server.sink_when(&id, "otlp", |sink| sink["lag_records"] == 0).await;
    let records = server.records(&id).await;
    let (mut logs, mut spans) = (Vec::new(), Vec::new());
    for seen in collector.committed() {
        assert_eq!(seen.request.header("x-api-key"), "collector-key-1");
        match seen.request.path.as_str() {
            "/v1/logs" => {
                let request: ExportLogsServiceRequest = serde_json::from_slice(&seen.request.body).unwrap();
                let scopes = request
                    .resource_logs
                    .into_iter()
                    .flat_map(|resource| resource.scope_logs);
                logs.extend(scopes.flat_map(|scope| scope.log_records));
            }
            "/v1/traces" => {
                let request: ExportTraceServiceRequest = serde_json::from_slice(&seen.request.body).unwrap();
                let scopes = request
                    .resource_spans
                    .into_iter()
                    .flat_map(|resource| resource.scope_spans);
                spans.extend(scopes.flat_map(|scope| scope.spans));
            }
            other => panic!("nobody asked for {other}"),
        }
    }
    assert_eq!(logs.len(), records.len(), "a log for every record");
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].name, "invoke_agent shell");
    assert_eq!(spans[0].trace_id.len(), 16);
    assert!(logs.iter().any(|log| log.trace_id == spans[0].trace_id));
    assert!(spans[0].end_time_unix_nano > spans[0].start_time_unix_nano);
    let attribute = |key: &str| spans[0].attributes.iter().any(|attribute| attribute.key == key);
    assert!(
        attribute("gen_ai.operation.name") && attribute("gen_ai.agent.name"),
        "{spans:?}"
    );
}
