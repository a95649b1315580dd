//! A session's state: a fold over its records.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::permission::GivenAnswer;
use super::status::SessionStatus;
use crate::record::Usage;
use crate::record::{Body, Exited, Permission, Record, Started, Stdout, Stream, TurnEnded};
use crate::request::TurnOptions;

/// The phase of a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnPhase {
    /// Accepted; not started yet.
    Queued,
    /// The agent's process is running.
    Running,
    /// The agent's process has exited; the outcome is not decided yet.
    Exited,
    /// The last attempt failed; the turn will be retried.
    Retrying {
        /// The number of the next attempt.
        attempt: u32,
        /// When the attempt is due.
        at: Timestamp,
    },
    /// It has ended.
    Ended(TurnEnded),
}

/// A turn's state, according to its records.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnState {
    /// Its number; starts at 1.
    pub turn: u32,
    /// The `seq` of its prompt.
    pub prompt_seq: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The agent begins a new conversation, and knows nothing of the turns before.
    pub fresh: bool,
    /// What its prompt chooses for it.
    pub options: TurnOptions,
    /// Its prompt has images or files.
    pub has_files: bool,
    /// The `seq` and the `Idempotency-Key` of each message that was sent to it while it ran.
    pub steers: Vec<(u64, Option<String>)>,
    /// Its phase.
    pub phase: TurnPhase,
    /// The number of the attempt; starts at 1.
    pub attempt: u32,
    /// Attempts that do not count as retries of the request: the agent had refused to start.
    pub extra_attempts: u32,
    /// The process of the last attempt, and when it was started.
    pub started: Option<(Started, Timestamp)>,
    /// The `seq` of the last `started` or `setup` record.
    pub started_seq: u64,
    /// The setup step that is running or failed; `None` after the agent's start, or without setup.
    pub setup: Option<u32>,
    /// How the last attempt's process ended.
    pub exited: Option<Exited>,
    /// When the turn ended.
    pub ended_at: Option<Timestamp>,
    /// The `seq` of its `turn_ended`; 0 before.
    pub ended_seq: u64,
    /// The offsets of the last attempt's output files, stdout and stderr.
    pub offsets: [StreamOffset; 2],
    /// Bytes written to the standard input of the last attempt's process.
    pub stdin_to: u64,
    /// The process tree is frozen because disk space is low.
    pub frozen: bool,
    /// Unanswered questions, and when they were asked. `expires_at` is extended by the time during which the machine
    /// was paused.
    pub permissions: Vec<(Permission, Timestamp)>,
    /// The turns before it of which its agent knows nothing, although nobody asked for a new conversation.
    pub forgotten: Vec<u32>,
    /// Answered questions.
    pub answers: Vec<Arc<GivenAnswer>>,
}

/// How much of a stream is in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOffset {
    /// The offset in the turn's stream after the last record.
    pub to: u64,
    /// The offset in the stream at which its file starts; not 0 after a retry, or if the agent truncated the file.
    pub base: u64,
    /// The agent truncated the file, so the hole at its start is gone.
    pub truncated: bool,
}

impl TurnState {
    /// How the turn ended, if it has ended.
    pub fn ended(&self) -> Option<&TurnEnded> {
        match &self.phase {
            TurnPhase::Ended(ended) => Some(ended),
            TurnPhase::Queued | TurnPhase::Running | TurnPhase::Exited | TurnPhase::Retrying { .. } => None,
        }
    }

    /// It has no process, and will get one.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, TurnPhase::Queued | TurnPhase::Retrying { .. })
    }

    /// The offset of a stream.
    pub fn offset(&self, stream: Stream) -> StreamOffset {
        let [stdout, stderr] = self.offsets;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn offset_mut(&mut self, stream: Stream) -> &mut StreamOffset {
        let [stdout, stderr] = &mut self.offsets;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }
}

/// A session's state, according to its records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionState {
    /// The last record's `seq`; 0 if there is none.
    pub last_seq: u64,
    /// The last record's time.
    pub updated_at: Option<Timestamp>,
    /// The turns in order. They are shared: the state is copied at every change, and old turns do not change.
    pub turns: Vec<Arc<TurnState>>,
    /// The first start of an agent: the setup was complete, and all later changes are the agents'.
    pub first_start: Option<(Started, Timestamp)>,
    /// The agent has refused another standard output than this.
    pub stdout: Stdout,
}

impl SessionState {
    /// Applies a record.
    pub fn apply(&mut self, record: &Record) {
        self.set_last(record.seq, Some(record.time));
        match &record.body {
            Body::Prompt(prompt) => self.turns.push(Arc::new(TurnState {
                turn: record.turn,
                prompt_seq: record.seq,
                accepted_at: record.time,
                idempotency_key: prompt.idempotency_key.clone(),
                fresh: prompt.fresh,
                options: prompt.options.clone(),
                has_files: prompt.blocks.iter().any(|block| block.file().is_some()),
                steers: Vec::new(),
                phase: TurnPhase::Queued,
                attempt: 1,
                extra_attempts: 0,
                started: None,
                started_seq: 0,
                setup: None,
                exited: None,
                ended_at: None,
                ended_seq: 0,
                offsets: [StreamOffset::default(); 2],
                stdin_to: 0,
                frozen: false,
                permissions: Vec::new(),
                answers: Vec::new(),
                forgotten: Vec::new(),
            })),
            Body::Stdout(output) => self.apply_output(record.seq, record.turn, Stream::Stdout, output.to),
            Body::Stderr(output) => self.apply_output(record.seq, record.turn, Stream::Stderr, output.to),
            body => {
                if let Body::Retry {
                    stdout: Some(stdout), ..
                } = body
                {
                    self.stdout = *stdout;
                }
                if let (Body::Started(started), None) = (&record.body, &self.first_start) {
                    self.first_start = Some((started.clone(), record.time));
                }
                if let Some(turn) = self.turn_mut(record.turn) {
                    apply_to_turn(turn, record.seq, record.time, body);
                }
            }
        }
    }

    /// Applies an output record of which only the head was parsed.
    pub fn apply_output(&mut self, seq: u64, turn: u32, stream: Stream, to: u64) {
        self.set_last(seq, None);
        if let Some(turn) = self.turn_mut(turn) {
            turn.offset_mut(stream).to = to;
        }
    }

    fn set_last(&mut self, seq: u64, time: Option<Timestamp>) {
        self.last_seq = seq;
        self.updated_at = time.or(self.updated_at);
    }

    /// A turn by its number.
    pub fn turn(&self, turn: u32) -> Option<&TurnState> {
        self.turns
            .iter()
            .rev()
            .map(Arc::as_ref)
            .find(|state| state.turn == turn)
    }

    fn turn_mut(&mut self, turn: u32) -> Option<&mut TurnState> {
        let state = self.turns.iter_mut().rev().find(|state| state.turn == turn);
        state.map(Arc::make_mut)
    }

    /// The first turn that has not ended: it is running or waiting.
    pub fn current(&self) -> Option<&TurnState> {
        self.turns.iter().map(Arc::as_ref).find(|turn| turn.ended().is_none())
    }

    /// There is at least one turn, and all turns have ended.
    pub fn is_settled(&self) -> bool {
        !self.turns.is_empty() && self.current().is_none()
    }

    /// The number for the next turn.
    pub fn next_turn(&self) -> u32 {
        self.turns.last().map_or(1, |turn| turn.turn.saturating_add(1))
    }

    /// The usage of all ended turns.
    pub fn usage(&self) -> Usage {
        self.turns
            .iter()
            .filter_map(|turn| turn.ended()?.usage)
            .fold(Usage::default(), Usage::plus)
    }

    /// The session's status.
    pub fn status(&self) -> SessionStatus {
        match self
            .current()
            .or_else(|| self.turns.last().map(Arc::as_ref))
            .map(|turn| &turn.phase)
        {
            None => SessionStatus::Idle,
            Some(TurnPhase::Queued) => SessionStatus::Queued,
            Some(TurnPhase::Running | TurnPhase::Exited | TurnPhase::Retrying { .. }) => {
                if self.pending_permissions().next().is_some() {
                    SessionStatus::Waiting
                } else {
                    SessionStatus::Running
                }
            }
            Some(TurnPhase::Ended(ended)) => ended.status.into(),
        }
    }

    /// The unanswered questions of the current turn, and when they were asked; oldest first.
    pub fn pending_permissions(&self) -> impl Iterator<Item = &(Permission, Timestamp)> {
        self.current().into_iter().flat_map(|turn| &turn.permissions)
    }
}

fn apply_to_turn(turn: &mut TurnState, seq: u64, time: Timestamp, body: &Body) {
    match body {
        Body::Setup(setup) => {
            turn.setup = Some(setup.step);
            apply_start(turn, seq, time, setup.process());
        }
        Body::Started(started) => {
            turn.setup = None;
            apply_start(turn, seq, time, started.clone());
        }
        Body::Permission(permission) => {
            turn.permissions.retain(|(known, _)| known.id != permission.id);
            turn.permissions.push((permission.clone(), time));
        }
        Body::PermissionAnswer(answer) => {
            let index = turn.permissions.iter().position(|(asked, _)| asked.id == answer.id);
            if let Some(index) = index {
                let (asked, _) = turn.permissions.remove(index);
                turn.answers.push(Arc::new(GivenAnswer::new(asked, answer)));
            }
        }
        Body::Exited(exited) => {
            // The process that asked is gone.
            turn.permissions.clear();
            turn.exited = Some(exited.clone());
            turn.frozen = false;
            if turn.ended().is_none() {
                turn.phase = TurnPhase::Exited;
            }
        }
        Body::Retry {
            attempt, delay, stdout, ..
        } => {
            turn.attempt = *attempt;
            turn.extra_attempts = turn.extra_attempts.saturating_add(u32::from(stdout.is_some()));
            // The next attempt is a new process with a new standard input.
            turn.stdin_to = 0;
            // The next attempt writes new files; its offsets continue where these ended.
            for offset in &mut turn.offsets {
                let to = offset.to;
                *offset = StreamOffset {
                    to,
                    base: to,
                    truncated: false,
                };
            }
            let delay = SignedDuration::try_from_secs_f64(*delay).unwrap_or_default();
            turn.phase = TurnPhase::Retrying {
                attempt: *attempt,
                at: time.saturating_add(delay).unwrap_or(time),
            };
        }
        Body::TurnEnded(ended) => {
            turn.ended_at = Some(time);
            turn.ended_seq = seq;
            turn.frozen = false;
            turn.phase = TurnPhase::Ended(ended.clone());
        }
        Body::Forgotten { turns } => turn.forgotten.clone_from(turns),
        Body::Frozen { .. } => turn.frozen = true,
        Body::Thawed { .. } => turn.frozen = false,
        Body::Gap(gap) => {
            for stream in Stream::BOTH {
                if let (true, Some(to)) = (gap.stream == stream.name(), gap.to) {
                    *turn.offset_mut(stream) = StreamOffset {
                        to,
                        base: to,
                        truncated: true,
                    };
                }
            }
        }
        Body::Steer(message) => turn.steers.push((seq, message.idempotency_key.clone())),
        Body::Stdin(output) => turn.stdin_to = output.to,
        Body::Resumed { away, .. } => extend_questions(turn, *away),
        Body::Prompt(_)
        | Body::Stdout(_)
        | Body::Stderr(_)
        | Body::Alert { .. }
        | Body::Recovered { .. }
        | Body::Unknown => {}
    }
}

/// Extends the timeouts of open questions: nobody could answer while the machine was paused.
fn extend_questions(turn: &mut TurnState, away: f64) {
    let away = SignedDuration::try_from_secs_f64(away).unwrap_or_default();
    for (permission, _) in &mut turn.permissions {
        permission.expires_at = permission.expires_at.map(|at| at.saturating_add(away).unwrap_or(at));
    }
}

fn apply_start(turn: &mut TurnState, seq: u64, time: Timestamp, started: Started) {
    turn.attempt = started.attempt;
    turn.started = Some((started, time));
    turn.started_seq = seq;
    turn.exited = None;
    turn.phase = TurnPhase::Running;
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
