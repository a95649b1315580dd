//! Reading a running turn's output for what the agent itself says of its end.

use std::sync::Arc;

use super::session::Session;
use super::{Runtime, RuntimeError};
use crate::agents::{Agent, Observer};
use crate::journal::{Assembler, Follower, Kind, Part, decode, parse_head, whole_lines};
use crate::model::{Body, Observation, Stream};

/// Feeds a turn's lines to its agent's observer.
pub(super) struct TurnReader {
    follower: Option<Follower>,
    turn: u32,
    /// `None` where only the exit code tells.
    observer: Option<Box<dyn Observer>>,
    /// Unfinished lines of stdout and stderr.
    lines: [Assembler; 2],
    exit_seen: bool,
    /// What comes is a setup's output, and none of the agent's.
    in_setup: bool,
    final_after_exit: bool,
}

impl TurnReader {
    /// Begins with the last attempt's `started` record.
    pub(super) fn new(runtime: &Runtime, session: &Arc<Session>, turn: u32, agent: Option<&Agent>) -> Self {
        let observer = agent.and_then(|agent| agent.observer(session.request().permission.unwrap_or_default()));
        let state = session.state();
        let begin = state.turn(turn).map_or(0, |turn| turn.started_seq.saturating_sub(1));
        let follower = observer
            .as_ref()
            .and_then(|_| Follower::open(&runtime.watcher, &session.folder, begin, None).ok());
        Self {
            follower,
            turn,
            observer,
            lines: Default::default(),
            exit_seen: false,
            in_setup: false,
            final_after_exit: false,
        }
    }

    /// Reads to the journal's end; true when the agent said something in its own format.
    pub(super) async fn catch_up(&mut self) -> Result<bool, RuntimeError> {
        let mut spoke = false;
        while let Some(follower) = &mut self.follower {
            let Some(piece) = follower.read().await? else { break };
            // Larger than a block are only prompts, and output of control bytes, which is no event of any agent.
            if piece.starts_line && piece.ends_line {
                for line in whole_lines(&piece.bytes) {
                    spoke |= self.record(line);
                }
            }
        }
        Ok(spoke)
    }

    fn record(&mut self, line: &[u8]) -> bool {
        let Some(head) = parse_head(line).filter(|head| head.turn == self.turn) else {
            return false;
        };
        match head.kind {
            Kind::Other("exited") => {
                self.exit_seen = true;
                // The last words of an agent need no newline.
                let last = [Stream::Stdout, Stream::Stderr].map(|stream| self.finish_line(stream));
                last.contains(&true)
            }
            Kind::Other(kind @ ("setup" | "started")) => {
                self.in_setup = kind == "setup";
                false
            }
            Kind::Other(_) => false,
            Kind::Output(..) if self.in_setup => false,
            Kind::Output(stream, _) => decode(line).is_some_and(|record| self.output(stream, record.body)),
        }
    }

    fn output(&mut self, stream: Stream, body: Body) -> bool {
        let (Body::Stdout(output) | Body::Stderr(output)) = body else {
            return false;
        };
        let part = self.lines_of(stream).push(&output);
        part.is_some_and(|part| self.said(stream, &part))
    }

    fn finish_line(&mut self, stream: Stream) -> bool {
        let part = self.lines_of(stream).finish();
        part.is_some_and(|part| self.said(stream, &part))
    }

    fn lines_of(&mut self, stream: Stream) -> &mut Assembler {
        let [stdout, stderr] = &mut self.lines;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn said(&mut self, stream: Stream, part: &Part) -> bool {
        // What goes on with a line that is too long is none of its own, whatever it looks like.
        let Some(observer) = self.observer.as_mut().filter(|_| part.begins) else {
            return false;
        };
        let had_final = observer.observation().final_event.is_some();
        observer.line(stream, &part.bytes);
        let seen = observer.observation();
        self.final_after_exit |= self.exit_seen && !had_final && seen.final_event.is_some();
        seen.last_line_known
    }

    /// What the agent has said so far.
    pub(super) fn observation(&mut self) -> Observation {
        self.observer
            .as_ref()
            .map(|observer| observer.observation().clone())
            .unwrap_or_default()
    }

    /// The final event came from a worker that outlived its launcher.
    pub(super) fn final_event_came_after_exit(&self) -> bool {
        self.final_after_exit
    }
}
