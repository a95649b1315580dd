//! Records to events.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::ending::word;
use super::super::{Batch, Line};
use promptd_model::parse_head;
use promptd_model::{Body, SessionState, Status, TurnEnded, WebhookEvent};

/// All of them.
pub(super) const ALL: [WebhookEvent; 6] = [
    WebhookEvent::SessionCreated,
    WebhookEvent::TurnStarted,
    WebhookEvent::TurnEnded,
    WebhookEvent::PermissionRequested,
    WebhookEvent::ResourceAlert,
    WebhookEvent::SandboxResumed,
];

/// What a record of some type may be.
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

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) of: WebhookEvent,
    pub(super) seq: u64,
    /// When, as the record says.
    pub(super) time: String,
    /// How the turn ended, if this is its end.
    pub(super) status: Option<Status>,
    /// All that there is to say, with `session` and the like.
    pub(super) data: Map<String, Value>,
}

impl Event {
    /// The session was created.
    pub(super) fn creation(batch: &Batch<'_>) -> Self {
        let mut data = Data::about(batch);
        let time = time_text(batch.about.created_at);
        data.put("model", batch.about.model.as_deref());
        data.put("created_at", &time);
        Self {
            of: WebhookEvent::SessionCreated,
            seq: 0,
            time,
            status: None,
            data: data.0,
        }
    }

    /// What a record tells; nothing if that is no event.
    pub(super) fn of(batch: &Batch<'_>, line: &Line) -> Option<Self> {
        let head = parse_head(&line.text)?;
        let of = of_kind(head.kind.name())?;
        let mut data = Data::about(batch);
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
            // A retry goes on with the same turn.
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

fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// What there is to say.
struct Data(Map<String, Value>);

impl Data {
    fn about(batch: &Batch<'_>) -> Self {
        let mut data = Self(Map::new());
        let about = batch.about;
        data.put("session", &about.session);
        data.put("agent", &about.agent);
        data.put("agent_id", (about.agent_id != about.agent).then_some(&about.agent_id));
        data.put("sandbox", &about.sandbox);
        data.put("epoch", batch.epoch);
        data
    }

    /// Says something, if there is anything to say.
    fn put(&mut self, name: &str, value: impl Serialize) {
        match serde_json::to_value(value) {
            Ok(Value::Null) | Err(_) => {}
            Ok(value) => drop(self.0.insert(name.to_owned(), value)),
        }
    }

    fn ending(&mut self, state: &SessionState, number: u32, ended_at: Timestamp, ended: &TurnEnded) {
        self.put("status", word(ended.status));
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
        // Of a lost turn the exit may become known later, and an event never changes between tries.
        let exited = turn.exited.as_ref().filter(|_| ended.status != Status::Lost);
        // The agent's own clock stands still while the machine is paused.
        let by_the_wall = |started_at: Timestamp| ended_at.duration_since(started_at).as_secs_f64().max(0.0);
        let duration = exited.map(|exited| exited.duration);
        self.put("started_at", started_at.map(time_text));
        self.put("ended_at", time_text(ended_at));
        self.put("duration", duration.or_else(|| started_at.map(by_the_wall)));
        self.put("exit_code", exited.and_then(|exited| exited.code));
        self.put("signal", exited.and_then(|exited| exited.signal.as_deref()));
    }
}
