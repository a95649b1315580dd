//! Converts records to log records.
//!
//! Output is a plain log record with the name of its stream. Every other record is an event named after its type, with
//! the record as its body. Both streams have the severity INFO: agents write their progress to stderr, and meaningless
//! warnings would hide real ones.

use super::ids;
use super::schema::{AnyValue, KeyValue, LogRecord, LogsRequest, Nanos, Resource, ResourceLogs, Scope, ScopeLogs};
use crate::kinds::kind::{Batch, Line};
use promptd_model::{Body, Output, Status, Stream};
use promptd_model::{Head, decode_output};

/// A severity: its number in the schema, and its name.
type Severity = (u8, &'static str);

const INFO: Severity = (9, "INFO");
const WARN: Severity = (13, "WARN");
const ERROR: Severity = (17, "ERROR");

/// All records of a batch; `None` when there is none.
pub(super) fn request(batch: &Batch<'_>) -> Option<LogsRequest> {
    let log_records: Vec<LogRecord> = batch.lines.iter().filter_map(|line| log(batch, line)).collect();
    if log_records.is_empty() {
        return None;
    }
    let scope_logs = [ScopeLogs {
        scope: Scope::OURS,
        log_records,
    }];
    let resource = Resource::of(batch.epoch);
    Some(LogsRequest {
        resource_logs: [ResourceLogs { resource, scope_logs }],
    })
}

fn log(batch: &Batch<'_>, line: &Line) -> Option<LogRecord> {
    let head = line.head()?;
    let time = line.time()?;
    let kind = head.kind.name();
    let mut attributes = common_attributes(batch, head);
    let record = line.record();
    let (severity, body, event_name) = match record.as_ref().map(|record| &record.body) {
        Some(Body::Stdout(output)) => (INFO, output_body(Stream::Stdout, output, &mut attributes), None),
        Some(Body::Stderr(output)) => (INFO, output_body(Stream::Stderr, output, &mut attributes), None),
        body => {
            let text = String::from_utf8_lossy(&line.text).into_owned();
            let severity = body.map_or(INFO, severity);
            (severity, AnyValue::Text(text), Some(format!("promptd.{kind}")))
        }
    };
    Some(LogRecord {
        time_unix_nano: Nanos::of(time),
        observed_time_unix_nano: Nanos::of(time),
        severity_number: severity.0,
        severity_text: severity.1,
        body,
        attributes,
        trace_id: (head.turn > 0).then(|| ids::trace(batch.info, head.turn)),
        event_name,
    })
}

fn common_attributes(batch: &Batch<'_>, head: Head<'_>) -> Vec<KeyValue> {
    let uid = format!("{}:{}:{}", batch.info.session, batch.epoch, head.seq);
    let mut attributes = vec![
        KeyValue::of("log.record.uid", uid),
        KeyValue::of("gen_ai.conversation.id", batch.info.session.as_str()),
        KeyValue::of("gen_ai.agent.name", batch.info.agent.as_str()),
        KeyValue::of("promptd.seq", head.seq),
    ];
    if head.turn > 0 {
        attributes.push(KeyValue::of("promptd.turn", head.turn));
    }
    attributes
}

/// The output without its final newline.
fn output_body(stream: Stream, output: &Output, attributes: &mut Vec<KeyValue>) -> AnyValue {
    attributes.push(KeyValue::of("log.iostream", stream.name()));
    if !output.eol {
        attributes.push(KeyValue::of("promptd.eol", false));
    }
    if output.late {
        attributes.push(KeyValue::of("promptd.late", true));
    }
    let mut bytes = Vec::new();
    decode_output(
        &Output {
            eol: false,
            ..output.clone()
        },
        &mut bytes,
    );
    AnyValue::of_bytes(bytes)
}

fn severity(body: &Body) -> Severity {
    match body {
        Body::TurnEnded(ended) => match ended.status {
            Status::Completed => INFO,
            Status::Cancelled => WARN,
            Status::Failed | Status::TimedOut | Status::Lost => ERROR,
        },
        Body::Recovered { lost_keeper: true, .. }
        | Body::Retry { .. }
        | Body::Alert { .. }
        | Body::Frozen { .. }
        | Body::Gap(_) => WARN,
        Body::Prompt(_)
        | Body::Steer(_)
        | Body::Setup(_)
        | Body::Started(_)
        | Body::Thawed { .. }
        | Body::Stdout(_)
        | Body::Stderr(_)
        | Body::Stdin(_)
        | Body::Permission(_)
        | Body::PermissionAnswer(_)
        | Body::Exited(_)
        | Body::Resumed { .. }
        | Body::Recovered { .. }
        | Body::Forgotten { .. }
        | Body::Unknown => INFO,
    }
}
