//! Reading a running turn's output for what the agent itself says of its end.

use std::sync::Arc;

use crate::runtime::dialog::state::Conversation;
use crate::runtime::session::Session;
use crate::runtime::{Runtime, RuntimeError};
use promptd_agents::Observer;
use promptd_follow::Follower;
use promptd_model::{Body, Observation, Stream};
use promptd_model::{LineAssembler, LinePart, RecordKind, decode, parse_head, whole_lines};

/// Who makes sense of what an agent writes.
pub(crate) enum Listener {
    /// Nobody: only the exit code tells.
    Nobody,
    /// It is read only.
    Observer(Box<dyn Observer>),
    /// It is talked with.
    Conversation(Box<Conversation>),
}

impl Listener {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        match self {
            Self::Nobody => {}
            Self::Observer(observer) => observer.observe_line(stream, line),
            Self::Conversation(conversation) => conversation.line(stream, line),
        }
    }

    fn observation(&self) -> Option<&Observation> {
        match self {
            Self::Nobody => None,
            Self::Observer(observer) => Some(observer.observation()),
            Self::Conversation(conversation) => Some(conversation.observation()),
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The agent said something.
    pub lines: bool,
    /// The last of it was in its own format.
    pub known: bool,
}

/// Feeds what one attempt of a turn wrote, and in a conversation what was said to it, to whoever makes sense of it.
pub(crate) struct TurnReader {
    follower: Option<Follower>,
    turn: u32,
    listener: Listener,
    /// Unfinished lines of stdout and stderr.
    lines: [LineAssembler; 2],
    exit_seen: bool,
    /// What comes is a setup's output, and none of the agent's.
    in_setup: bool,
    final_after_exit: bool,
}

impl TurnReader {
    /// Begins with the last attempt's `started` record.
    pub(crate) fn new(runtime: &Runtime, session: &Arc<Session>, turn: u32, listener: Listener) -> Self {
        let state = session.state();
        let begin = state.turn(turn).map_or(0, |turn| turn.started_seq.saturating_sub(1));
        let follower = listener
            .observation()
            .and_then(|_| Follower::open(&runtime.watcher, &session.folder, begin, None).ok());
        Self {
            follower,
            turn,
            listener,
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
            // Larger than a block are only prompts, and output of control bytes, which is no event of any agent.
            if piece.starts_line && piece.ends_line {
                for line in whole_lines(&piece.bytes) {
                    let read = self.record(line);
                    all.lines |= read.lines;
                    all.known |= read.known;
                }
            }
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
                // The last words of an agent need no newline.
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
            RecordKind::Other("stdin" | "permission_answer") => {
                self.told(line);
                nothing
            }
            RecordKind::Other(_) => nothing,
            RecordKind::Output(..) if self.in_setup => nothing,
            RecordKind::Output(stream, _) => decode(line).map_or(nothing, |record| self.output(stream, record.body)),
        }
    }

    /// What the agent was told, and what it is to be told.
    fn told(&mut self, line: &[u8]) {
        let Listener::Conversation(conversation) = &mut self.listener else {
            return;
        };
        match decode(line).map(|record| record.body) {
            Some(Body::Stdin(output)) => conversation.written(&output),
            Some(Body::PermissionAnswer(answer)) => conversation.answered(&answer),
            Some(_) | None => {}
        }
    }

    fn output(&mut self, stream: Stream, body: Body) -> Read {
        let (Body::Stdout(output) | Body::Stderr(output)) = body else {
            return Read::default();
        };
        let part = self.lines_of(stream).push(&output);
        part.map_or_else(Read::default, |part| self.said(stream, &part))
    }

    fn finish_line(&mut self, stream: Stream) -> Read {
        let part = self.lines_of(stream).finish();
        part.map_or_else(Read::default, |part| self.said(stream, &part))
    }

    fn lines_of(&mut self, stream: Stream) -> &mut LineAssembler {
        let [stdout, stderr] = &mut self.lines;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn said(&mut self, stream: Stream, part: &LinePart) -> Read {
        // What goes on with a line that is too long is none of its own, whatever it looks like.
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

    /// What the agent has said so far.
    pub(crate) fn observation(&self) -> Observation {
        self.listener.observation().cloned().unwrap_or_default()
    }

    /// What is talked about, where the agent is talked with and has started.
    pub(crate) fn conversation(&mut self) -> Option<&mut Conversation> {
        match &mut self.listener {
            Listener::Conversation(conversation) if !self.in_setup && !self.exit_seen => Some(conversation),
            Listener::Nobody | Listener::Observer(_) | Listener::Conversation(_) => None,
        }
    }

    /// The agent was told to end its turn.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(&self.listener, Listener::Conversation(conversation) if conversation.is_interrupted())
    }

    /// The final event came from a worker that outlived its launcher.
    pub(crate) fn final_event_came_after_exit(&self) -> bool {
        self.final_after_exit
    }
}
