//! Converts records to events.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::kinds::common::wire_name;
use crate::kinds::kind::{Batch, Line};
use promptd_model::{Body, SessionState, Status, TurnEnded, WebhookEvent, parse_head, time_text};

/// All of them.
pub(super) const ALL: [WebhookEvent; 6] = [
    WebhookEvent::SessionCreated,
    WebhookEvent::TurnStarted,
    WebhookEvent::TurnEnded,
    WebhookEvent::PermissionRequested,
    WebhookEvent::ResourceAlert,
    WebhookEvent::SandboxResumed,
];

/// The event of a record type.
pub(super) fn of_kind(kind: &str) -> Option<WebhookEvent> {
    match kind {
        "started" => Some(WebhookEvent::TurnStarted),
        "turn_ended" => Some(WebhookEvent::TurnEnded),
        "permission" => Some(WebhookEvent::PermissionRequested),
        "alert" => Some(WebhookEvent::ResourceAlert),
        "resumed" => Some(WebhookEvent::SandboxResumed),
        _ => None,
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) of: WebhookEvent,
    pub(super) seq: u64,
    /// The time of the record.
    pub(super) time: String,
    /// How the turn ended, for its end.
    pub(super) status: Option<Status>,
    /// The content, including `session` and other common fields.
    pub(super) data: Map<String, Value>,
}

impl Event {
    /// The session was created.
    pub(super) fn creation(batch: &Batch<'_>) -> Self {
        let mut data = Data::new(batch);
        let time = time_text(batch.info.created_at);
        data.put("model", batch.info.model.as_deref());
        data.put("created_at", &time);
        Self {
            of: WebhookEvent::SessionCreated,
            seq: 0,
            time,
            status: None,
            data: data.0,
        }
    }

    /// The event of a record, if it has one.
    pub(super) fn of(batch: &Batch<'_>, line: &Line) -> Option<Self> {
        let head = parse_head(&line.text)?;
        let of = of_kind(head.kind.name())?;
        let mut data = Data::new(batch);
        data.put("seq", head.seq);
        data.put("turn", (head.turn > 0).then_some(head.turn));
        if of == WebhookEvent::PermissionRequested {
            let record: Map<String, Value> = serde_json::from_slice(&line.text).ok()?;
            let time = record.get("time").and_then(Value::as_str)?.to_owned();
            for field in ["id", "title", "options"] {
                data.put(field, record.get(field));
            }
            return Some(Self {
                of,
                seq: head.seq,
                time,
                status: None,
                data: data.0,
            });
        }
        let record = line.record()?;
        let mut status = None;
        match &record.body {
            // A retry continues the same turn.
            Body::Started(started) if started.attempt > 1 => return None,
            Body::Started(started) => {
                data.put("attempt", started.attempt);
                data.put("pid", started.pid);
                data.put("program", &started.program);
            }
            Body::TurnEnded(ended) => {
                status = Some(ended.status);
                data.ending(batch.state, record.turn, record.time, ended);
            }
            Body::Alert {
                resource,
                value,
                threshold,
            } => {
                data.put("resource", resource);
                data.put("value", value);
                data.put("threshold", threshold);
            }
            Body::Resumed {
                epoch,
                previous,
                away,
                sandbox,
            } => {
                data.put("new_epoch", epoch);
                data.put("previous_epoch", previous);
                data.put("new_sandbox", sandbox);
                data.put("away", away);
            }
            _ => return None,
        }
        Some(Self {
            of,
            seq: head.seq,
            time: time_text(record.time),
            status,
            data: data.0,
        })
    }
}

/// The content of an event.
struct Data(Map<String, Value>);

impl Data {
    fn new(batch: &Batch<'_>) -> Self {
        let mut data = Self(Map::new());
        let info = batch.info;
        data.put("session", &info.session);
        data.put("agent", &info.agent);
        data.put("agent_id", (info.agent_id != info.agent).then_some(&info.agent_id));
        data.put("sandbox", &info.sandbox);
        data.put("epoch", batch.epoch);
        data
    }

    /// Adds a field, unless its value is null.
    fn put(&mut self, name: &str, value: impl Serialize) {
        match serde_json::to_value(value) {
            Ok(Value::Null) | Err(_) => {}
            Ok(value) => drop(self.0.insert(name.to_owned(), value)),
        }
    }

    fn ending(&mut self, state: &SessionState, number: u32, ended_at: Timestamp, ended: &TurnEnded) {
        self.put("status", wire_name(ended.status));
        self.put("cause", ended.cause);
        self.put("stop_reason", ended.stop_reason);
        self.put("result", &ended.result);
        self.put("error", &ended.error);
        self.put("usage", ended.usage);
        self.put("agent_session_id", &ended.agent_session_id);
        let Some(turn) = state.turn(number) else {
            return;
        };
        self.put("attempt", turn.attempt);
        let started_at = turn.started.as_ref().map(|(_, time)| *time);
        // The exit of a lost turn may become known later, but an event must not change between attempts.
        let exited = turn.exited.as_ref().filter(|_| ended.status != Status::Lost);
        // The recorded duration does not include pauses; this one does.
        let wall_duration = |started_at: Timestamp| ended_at.duration_since(started_at).as_secs_f64().max(0.0);
        let duration = exited.map(|exited| exited.duration);
        self.put("started_at", started_at.map(time_text));
        self.put("ended_at", time_text(ended_at));
        self.put("duration", duration.or_else(|| started_at.map(wall_duration)));
        self.put("exit_code", exited.and_then(|exited| exited.code));
        self.put("signal", exited.and_then(|exited| exited.signal.as_deref()));
    }
}
