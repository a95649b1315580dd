//! What the tests of kinds share: sinks from JSON, and journals.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Batch, Kind, Line, Message, SinkError};
use crate::source::SessionInfo;
use promptd_agents::updates::Translation;
use promptd_model::{Body, Output, Record, SessionState, SinkRequest, Status, Stream, TurnEnded};
use promptd_model::{Chunk, output_of};

pub(super) const EPOCH: &str = "e1";

/// A sink from its JSON request.
pub(super) fn sink(request: Value) -> Result<Box<dyn Kind>, SinkError> {
    let request: SinkRequest = serde_json::from_value(request).unwrap();
    super::of(&request)
}

/// The error of an invalid request.
pub(super) fn refused(request: Value) -> String {
    sink(request).map(|_| ()).unwrap_err().to_string()
}

pub(super) fn start() -> Timestamp {
    "2026-11-21T02:40:00Z".parse().unwrap()
}

pub(super) fn info() -> SessionInfo {
    SessionInfo {
        session: "s.1".to_owned(),
        agent: "claude".to_owned(),
        agent_id: "writer/1".to_owned(),
        model: Some("sonnet".to_owned()),
        created_at: start(),
        sandbox: None,
    }
}

/// A journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    pub(super) lines: Vec<Line>,
    /// The sandbox in which it is written.
    pub(super) sandbox: Option<String>,
}

impl Journal {
    pub(super) fn next_seq(&self) -> u64 {
        self.lines.last().map_or(1, |line| line.seq + 1)
    }

    /// Adds a line of any type, a second after the line before.
    pub(super) fn raw(&mut self, turn: u32, kind: &str, rest: &str) -> &mut Self {
        let seq = self.next_seq();
        let time = start() + SignedDuration::from_secs(i64::try_from(seq).unwrap());
        let turn = if turn > 0 {
            format!("\"turn\":{turn},")
        } else {
            String::new()
        };
        let text = format!("{{\"seq\":{seq},\"time\":\"{time:.6}\",{turn}\"type\":\"{kind}\"{rest}}}");
        let text = Bytes::from(text);
        self.lines.push(Line { seq, text });
        self
    }

    pub(super) fn body(&mut self, turn: u32, body: &Body) -> &mut Self {
        let Value::Object(mut fields) = serde_json::to_value(body).unwrap() else {
            panic!("a body is an object");
        };
        let kind = fields.remove("type").unwrap();
        // In output records the offset comes first.
        let to = fields
            .remove("to")
            .map(|to| format!(",\"to\":{to}"))
            .unwrap_or_default();
        let rest: String = fields
            .iter()
            .map(|(name, value)| format!(",\"{name}\":{value}"))
            .collect();
        self.raw(turn, kind.as_str().unwrap(), &format!("{to}{rest}"))
    }

    pub(super) fn output(&mut self, turn: u32, stream: Stream, bytes: &[u8], eol: bool, late: bool) -> &mut Self {
        let output = Output {
            late,
            ..output_of(&Chunk { bytes, eol }, 0)
        };
        self.body(
            turn,
            &match stream {
                Stream::Stdout => Body::Stdout(output),
                Stream::Stderr => Body::Stderr(output),
            },
        )
    }

    pub(super) fn stdout(&mut self, bytes: &[u8], eol: bool) -> &mut Self {
        self.output(1, Stream::Stdout, bytes, eol, false)
    }

    pub(super) fn stderr(&mut self, bytes: &[u8], eol: bool) -> &mut Self {
        self.output(1, Stream::Stderr, bytes, eol, false)
    }

    /// A turn's prompt and start.
    pub(super) fn begin(&mut self, turn: u32) -> &mut Self {
        self.raw(turn, "prompt", ",\"text\":\"do it\"");
        self.raw(
            turn,
            "started",
            ",\"pid\":7,\"program\":\"/bin/claude\",\"attempt\":1,\"start_ticks\":1,\"boot_id\":\"b\"",
        )
    }

    pub(super) fn end(&mut self, turn: u32, ended: TurnEnded) -> &mut Self {
        self.body(turn, &Body::TurnEnded(ended))
    }

    /// The messages of a part of the journal, by index.
    pub(super) fn send(&self, kind: &dyn Kind, from: usize, to: usize) -> Vec<Message> {
        self.send_at(kind, from, to, start())
    }

    pub(super) fn send_all(&self, kind: &dyn Kind) -> Vec<Message> {
        self.send(kind, 0, self.lines.len())
    }

    pub(super) fn send_at(&self, kind: &dyn Kind, from: usize, to: usize, now: Timestamp) -> Vec<Message> {
        let mut state = SessionState::default();
        for record in self.lines.iter().filter_map(Line::record) {
            let record: Record = record;
            state.apply(&record);
        }
        let wanted = |line: &&Line| line.head().is_some_and(|head| kind.wants(head));
        let lines: Vec<Line> = self.lines[from..to].iter().filter(wanted).cloned().collect();
        let history = |each: &mut dyn FnMut(&Line)| {
            self.lines[..to].iter().for_each(each);
            Ok(())
        };
        let updates = || {
            let mut translation = Translation::new(None, 0);
            let mut all = Vec::new();
            self.lines[..to]
                .iter()
                .for_each(|line| translation.push_line(&line.text, &mut all));
            let first = self.lines.get(from).map_or(0, |line| line.seq);
            Ok(all.into_iter().filter(|line| line.seq >= first).collect())
        };
        let batch = Batch {
            info: &SessionInfo {
                sandbox: self.sandbox.clone(),
                ..info()
            },
            epoch: EPOCH,
            first: self.lines.get(from).map_or(0, |line| line.seq),
            last: to
                .checked_sub(1)
                .and_then(|last| self.lines.get(last))
                .map_or(0, |line| line.seq),
            lines: &lines,
            state: &state,
            now,
            history: &history,
            updates: &updates,
        };
        kind.messages(&batch).unwrap()
    }
}

pub(super) fn ended(status: Status) -> TurnEnded {
    TurnEnded {
        status,
        cause: None,
        reset_at: None,
        stop_reason: None,
        result: None,
        error: None,
        usage: None,
        agent_session_id: None,
    }
}

pub(super) fn json(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

/// Whether all messages of a batch have different keys.
pub(super) fn keys_differ(messages: &[Message]) -> bool {
    let mut keys: Vec<_> = messages.iter().map(|message| (message.bounds, message.part)).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    keys.len() == count
}
