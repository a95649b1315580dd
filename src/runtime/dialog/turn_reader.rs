//! Reading a running turn's output: what the agent itself reports of its end, and the dialog with it.

use std::sync::Arc;

use crate::runtime::dialog::state::DialogState;
use crate::runtime::error::RuntimeError;
use crate::runtime::session::handle::Session;
use promptd_agents::Observer;
use promptd_follow::{Follower, Watcher};
use promptd_journal::RecordLines;
use promptd_model::{Body, Head, LineAssembler, LinePart, Observation, Prompt, RecordKind, Stream, decode, parse_head};

/// What was written to the agent, or is to be: of these a message and an answer can be of any size.
const DIALOG_KINDS: [&str; 3] = ["stdin", "permission_answer", "steer"];

/// What interprets an agent's output.
pub(crate) enum Listener {
    /// Nothing: only the exit code counts.
    None,
    /// It is only read.
    Observer(Box<dyn Observer>),
    /// It is also written to.
    Dialog(Box<DialogState>),
}

impl Listener {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        match self {
            Self::None => {}
            Self::Observer(observer) => observer.observe_line(stream, line),
            Self::Dialog(dialog) => dialog.read_line(stream, line),
        }
    }

    fn observation(&self) -> Option<&Observation> {
        match self {
            Self::None => None,
            Self::Observer(observer) => Some(observer.observation()),
            Self::Dialog(dialog) => Some(dialog.observation()),
        }
    }
}

/// What was read in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The agent wrote lines.
    pub lines: bool,
    /// The last of them was in its own format.
    pub known: bool,
}

/// Feeds the listener with the output of one attempt, and a dialog also with what was written to the agent.
pub(crate) struct TurnReader {
    follower: Option<Follower>,
    turn: u32,
    listener: Listener,
    records: RecordLines,
    /// Unfinished lines of stdout and stderr.
    lines: [LineAssembler; 2],
    exit_seen: bool,
    /// The output is that of the session's setup, not of the agent.
    in_setup: bool,
    final_after_exit: bool,
}

impl TurnReader {
    /// Begins with the last attempt's `started` record.
    pub(crate) fn new(watcher: &Arc<Watcher>, session: &Session, turn: u32, listener: Listener) -> Self {
        let state = session.state();
        let begin = state.turn(turn).map_or(0, |turn| turn.started_seq.saturating_sub(1));
        let follower = listener
            .observation()
            .and_then(|_| Follower::open(watcher, &session.folder, begin, None).ok());
        Self {
            follower,
            turn,
            listener,
            records: RecordLines::default(),
            lines: Default::default(),
            exit_seen: false,
            in_setup: false,
            final_after_exit: false,
        }
    }

    /// Reads to the journal's end.
    pub(crate) async fn catch_up(&mut self) -> Result<Read, RuntimeError> {
        let mut all = Read::default();
        while let Some(follower) = &mut self.follower {
            let Some(piece) = follower.read().await? else { break };
            let (turn, mut records) = (self.turn, std::mem::take(&mut self.records));
            records.push(
                &piece,
                |head| concerns(head, turn),
                |line| {
                    let read = self.record(line);
                    all.lines |= read.lines;
                    all.known |= read.known;
                },
            );
            self.records = records;
        }
        Ok(all)
    }

    fn record(&mut self, line: &[u8]) -> Read {
        let nothing = Read::default();
        let Some(head) = parse_head(line).filter(|head| head.turn == self.turn) else {
            return nothing;
        };
        match head.kind {
            RecordKind::Other("exited") => {
                self.exit_seen = true;
                // An agent's last line needs no newline.
                let [stdout, stderr] = Stream::BOTH.map(|stream| self.finish_line(stream));
                Read {
                    lines: stdout.lines || stderr.lines,
                    known: stdout.known || stderr.known,
                }
            }
            RecordKind::Other(kind @ ("setup" | "started")) => {
                self.in_setup = kind == "setup";
                nothing
            }
            RecordKind::Other(kind) if DIALOG_KINDS.contains(&kind) => {
                self.dialog_record(line);
                nothing
            }
            RecordKind::Other(_) => nothing,
            RecordKind::Output(..) if self.in_setup => nothing,
            RecordKind::Output(stream, _) => decode(line).map_or(nothing, |record| self.output(stream, record.body)),
        }
    }

    /// What was written to the agent, or is to be.
    fn dialog_record(&mut self, line: &[u8]) {
        let Listener::Dialog(dialog) = &mut self.listener else {
            return;
        };
        let Some(record) = decode(line) else { return };
        match record.body {
            Body::Stdin(output) => dialog.record_stdin(&output),
            Body::PermissionAnswer(answer) => dialog.record_answer(&answer),
            Body::Steer(message) => dialog.record_steer(record.seq, message),
            _ => {}
        }
    }

    fn output(&mut self, stream: Stream, body: Body) -> Read {
        let (Body::Stdout(output) | Body::Stderr(output)) = body else {
            return Read::default();
        };
        let part = self.lines_of(stream).push(&output);
        part.map_or_else(Read::default, |part| self.line(stream, &part))
    }

    fn finish_line(&mut self, stream: Stream) -> Read {
        let part = self.lines_of(stream).finish();
        part.map_or_else(Read::default, |part| self.line(stream, &part))
    }

    fn lines_of(&mut self, stream: Stream) -> &mut LineAssembler {
        let [stdout, stderr] = &mut self.lines;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn line(&mut self, stream: Stream, part: &LinePart) -> Read {
        // A line that is too long comes in parts; only the first one can be an event.
        if !part.begins {
            return Read::default();
        }
        let has_final = |listener: &Listener| listener.observation().is_some_and(|seen| seen.final_event.is_some());
        let had_final = has_final(&self.listener);
        self.listener.line(stream, &part.bytes);
        self.final_after_exit |= self.exit_seen && !had_final && has_final(&self.listener);
        Read {
            lines: true,
            known: self.listener.observation().is_some_and(|seen| seen.last_line_known),
        }
    }

    /// What the agent has reported so far.
    pub(crate) fn observation(&self) -> Observation {
        self.listener.observation().cloned().unwrap_or_default()
    }

    /// The agent's own id for its session, if it has reported one.
    pub(crate) fn agent_session_id(&self) -> Option<&str> {
        let seen = self.listener.observation()?;
        seen.agent_session_id
            .as_deref()
            .or(seen.announced_session_id.as_deref())
    }

    /// The dialog, where there is one and the agent runs.
    pub(crate) fn dialog(&mut self) -> Option<&mut DialogState> {
        match &mut self.listener {
            Listener::Dialog(dialog) if !self.in_setup && !self.exit_seen => Some(dialog),
            Listener::None | Listener::Observer(_) | Listener::Dialog(_) => None,
        }
    }

    /// Messages that came after the agent had given its final result, or that it refused.
    pub(crate) fn take_late_messages(&mut self) -> Vec<Prompt> {
        match &mut self.listener {
            Listener::Dialog(dialog) => dialog.take_late_messages(),
            Listener::None | Listener::Observer(_) => Vec::new(),
        }
    }

    /// Whether promptd talks with the agent.
    pub(crate) fn is_dialog(&self) -> bool {
        matches!(&self.listener, Listener::Dialog(_))
    }

    /// Whether the agent was asked in its own protocol to end its turn.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(&self.listener, Listener::Dialog(dialog) if dialog.is_interrupted())
    }

    /// Whether the final event came from a worker that outlived its launcher.
    pub(crate) fn final_event_came_after_exit(&self) -> bool {
        self.final_after_exit
    }
}

/// Whether a record that is larger than a block has to be read. The prompts of later turns need not.
fn concerns(head: Head<'_>, turn: u32) -> bool {
    let is_read = match head.kind {
        RecordKind::Output(..) => true,
        RecordKind::Other(kind) => DIALOG_KINDS.contains(&kind),
    };
    head.turn == turn && is_read
}
