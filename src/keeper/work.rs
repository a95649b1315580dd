//! A keeper's life: from its start to an empty tree.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::fcntl::Flock;
use nix::poll::PollFlags;

use super::agent::{Agent, unseen_exit};
use super::control::{Command, Control, Response};
use super::disk::DiskGuard;
use super::ladder::{Ladder, Progress};
use super::paths::TurnPaths;
use super::spec::Spec;
use super::start::{KeeperError, append, begin, remove_files};
use super::stream::{Look, StreamFile};
use super::watch::Wakers;
use crate::journal::{Batch, Chunker, Kind, Reader, WriteError, Writer, output_of, parse_head, whole_lines};
use crate::model::{Body, Cause, Exited, Gap};
use crate::sys::{self, PidFd, Waited};

/// One that runs into a timeout gets this long.
const TIMEOUT_GRACE: Duration = Duration::from_secs(5);

/// How long to wait before a journal that could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_millis(250);

/// How long to wait before a tree that changed while it was looked at is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Blocks of output per round: an agent that writes without pause must not keep us from the control socket.
const ROUND: usize = 16;

/// Runs as a keeper: reads its spec from standard input and returns when the turn's tree is empty.
pub fn main() -> ExitCode {
    sys::name_this_process(c"promptd-keeper");
    match begin().and_then(|keeper| keeper.map_or(Ok(()), Keeper::run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(KeeperError::AlreadyKept) => ExitCode::from(super::EXIT_ALREADY_KEPT),
        Err(error) => {
            // Nobody reads a keeper's standard error but a person who started one by hand.
            let source = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            eprintln!("promptd keeper: {error} {source}");
            ExitCode::FAILURE
        }
    }
}

/// Where the agent's process stands.
#[derive(Debug)]
pub(super) enum ExitState {
    /// It runs.
    Running,
    /// It has gone; `exited` follows when its output is in the journal up to these sizes of its files.
    Due(Box<Exited>, [u64; 2]),
    /// `exited` is in the journal.
    Recorded,
}

#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) spec: Spec,
    pub(super) paths: TurnPaths,
    pub(super) writer: Writer,
    pub(super) wakers: Wakers,
    pub(super) streams: [StreamFile; 2],
    pub(super) control: Control,
    pub(super) agent: Agent,
    pub(super) exit: ExitState,
    /// The ends of processes that are not our children.
    pub(super) pidfds: Vec<PidFd>,
    /// One of them has gone.
    pub(super) strangers_changed: bool,
    /// `turn_ended` is in the journal: what comes now is late.
    pub(super) turn_ended: bool,
    pub(super) ladder: Option<Ladder>,
    /// The ladder came to its end, and somebody is still there.
    pub(super) gave_up: bool,
    pub(super) disk: DiskGuard,
    pub(super) last_output: Instant,
    /// The journal refused a batch; not before then again.
    pub(super) write_again: Option<Instant>,
    pub(super) stdin_to: u64,
    pub(super) buffer: Vec<u8>,
    /// Keeps every other keeper away.
    pub(super) _lock: Flock<std::fs::File>,
}

impl Keeper {
    fn run(mut self) -> Result<(), KeeperError> {
        loop {
            let now = Instant::now();
            let pumped = self.pump(now);
            let nobody_left = self.reap(now)?;
            self.obey(now);
            self.enforce(&pumped, now);
            let recorded = matches!(self.exit, ExitState::Recorded) && self.disk.pending.is_empty();
            if nobody_left && recorded && self.streams.iter().all(|stream| stream.has_reached(stream.size())) {
                self.control.stopped(&Response {
                    survivors: Some(0),
                    ..self.response()
                });
                remove_files(&self.paths);
                return Ok(());
            }
            self.control.sweep();
            self.wait(matches!(pumped, Ok(true)));
        }
    }

    /// Brings what the agent wrote into the journal; answers whether there may be more at once.
    fn pump(&mut self, now: Instant) -> Result<bool, WriteError> {
        if self.write_again.is_some_and(|again| now < again) {
            return Ok(false);
        }
        self.write_again = None;
        self.writer.be_careful(self.disk.is_frozen());
        let mut buffer = std::mem::take(&mut self.buffer);
        let pumped = self.pump_round(&mut buffer, now);
        self.buffer = buffer;
        if pumped.is_err() {
            // Nothing is lost: what is not in the journal stays in the agent's files.
            self.write_again = Some(now + WRITE_AGAIN);
        }
        pumped
    }

    fn pump_round(&mut self, buffer: &mut Vec<u8>, now: Instant) -> Result<bool, WriteError> {
        self.flush_pending()?;
        let mut more = true;
        for _ in 0..ROUND {
            // In turn, so that neither stream starves the other.
            let stdout = self.pump_stream(0, buffer, now)?;
            let stderr = self.pump_stream(1, buffer, now)?;
            more = stdout || stderr;
            if !more {
                break;
            }
        }
        let ExitState::Due(_, sizes) = &self.exit else {
            return Ok(more);
        };
        if self
            .streams
            .iter()
            .zip(sizes)
            .all(|(stream, size)| stream.has_reached(*size))
            && let ExitState::Due(exited, _) = std::mem::replace(&mut self.exit, ExitState::Recorded)
        {
            self.disk.pending.push(Body::Exited(*exited));
            self.flush_pending()?;
        }
        Ok(more)
    }

    fn flush_pending(&mut self) -> Result<(), WriteError> {
        if !self.disk.pending.is_empty() {
            append(&mut self.writer, self.spec.turn, &self.disk.pending)?;
            self.disk.pending.clear();
        }
        Ok(())
    }

    /// One block of one stream; answers whether there may be more.
    fn pump_stream(&mut self, index: usize, buffer: &mut Vec<u8>, now: Instant) -> Result<bool, WriteError> {
        // The last words of an agent that has gone need no newline.
        let end = matches!(self.exit, ExitState::Due(..));
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok(false);
        };
        if self.writer.size() > self.spec.session_bytes {
            // What cannot be kept is counted once whoever wrote it has gone; until then it stays in the file.
            let bytes = if matches!(self.exit, ExitState::Running) {
                0
            } else {
                stream.skip()
            };
            if bytes > 0 {
                let stream = stream.stream.name().to_owned();
                let reason = "the session has reached limits.session_bytes".to_owned();
                self.disk.pending.push(Body::Gap(Gap {
                    stream,
                    bytes,
                    reason,
                    to: None,
                }));
                self.flush_pending()?;
            }
            return Ok(false);
        }
        let name = stream.stream;
        match stream.look(buffer).map_err(|source| WriteError::Io {
            path: self.paths.folder().to_owned(),
            source,
        })? {
            Look::Nothing => Ok(false),
            Look::Truncated { lost, to } => {
                let reason =
                    "the file was truncated by the agent or one of its commands while it was followed".to_owned();
                let gap = Gap {
                    stream: name.name().to_owned(),
                    bytes: lost,
                    reason,
                    to: Some(to),
                };
                // Among the pending, so that it is written even if the disk is full just now.
                self.disk.pending.push(Body::Gap(gap));
                self.flush_pending()?;
                Ok(true)
            }
            Look::Bytes => {
                let mut chunks = stream.chunks(buffer, end, now).peekable();
                if chunks.peek().is_none() {
                    stream.advance(buffer, 0, now);
                    return Ok(false);
                }
                let mut batch = self.writer.lock(Timestamp::now())?;
                self.turn_ended = self.turn_ended || has_ended(&batch, self.paths.folder(), self.spec.turn);
                let mut taken = 0_usize;
                for chunk in chunks {
                    taken = taken.saturating_add(chunk.stream_len());
                    let to = stream.offset_after(taken);
                    if batch.output(self.spec.turn, name, &chunk, to, self.turn_ended) {
                        break;
                    }
                }
                batch.write()?;
                stream.advance(buffer, taken, now);
                self.last_output = now;
                Ok(true)
            }
        }
    }

    /// Notices who has gone; answers whether nobody is left.
    fn reap(&mut self, now: Instant) -> Result<bool, KeeperError> {
        let mut agent = None;
        let childless = loop {
            match sys::wait_any().map_err(KeeperError::System)? {
                Waited::Gone(exit) if self.agent.ours && exit.pid == self.agent.pid() => agent = Some(exit),
                Waited::Gone(_) => {}
                Waited::AllLive => break false,
                Waited::NoChild => break true,
            }
        };
        if let Some(exit) = agent {
            self.agent.running = false;
            // A look through all of /proc only where there can be somebody.
            let leftover = if childless { 0 } else { self.response().processes };
            let cause = self.ladder.as_ref().map(|ladder| ladder.cause);
            self.exit_is_due(self.agent.exited(&exit, cause, leftover));
            self.pump(now).ok();
        }
        Ok(childless && (self.agent.ours || self.look_at_strangers(now)))
    }

    fn exit_is_due(&mut self, exited: Exited) {
        let [stdout, stderr] = &self.streams;
        self.exit = ExitState::Due(Box::new(exited), [stdout.size(), stderr.size()]);
    }

    /// The same for a tree that another keeper started: its ends come to init, and to us through pidfds.
    fn look_at_strangers(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.strangers_changed) && self.ladder.is_none() {
            return false;
        }
        // Seen to go just now, or gone before we came: then nobody knows when.
        let age = if self.agent.running {
            self.agent.age()
        } else {
            Duration::ZERO
        };
        self.agent.running = self.agent.running && self.agent.is_alive();
        let tree = self.agent.tree();
        if !self.agent.running && matches!(self.exit, ExitState::Running) {
            let leftover = u32::try_from(tree.len()).unwrap_or(u32::MAX);
            let cause = self
                .ladder
                .as_ref()
                .map_or_else(|| self.agent.lost_cause(), |ladder| ladder.cause);
            self.exit_is_due(Exited {
                duration: age.as_secs_f64(),
                ..unseen_exit(cause, leftover)
            });
            self.pump(now).ok();
        }
        self.pidfds = tree.iter().filter_map(|process| PidFd::open(*process).ok()).collect();
        // Nobody announces the end of who went between the looks, the agent or another: then it is looked again. So
        // it is where nobody is left, since the exit has to be in the journal first.
        let agent_went = self.agent.running && !tree.iter().any(|process| process.pid == self.agent.pid());
        self.strangers_changed = tree.is_empty() || agent_went || self.pidfds.len() < tree.len();
        tree.is_empty()
    }

    /// Does what came over the socket.
    fn obey(&mut self, now: Instant) {
        for command in self.control.work() {
            match command {
                Command::Status(connection) => {
                    let response = self.response();
                    self.control.answer(connection, &response);
                }
                Command::Stop { grace, cause } => {
                    let grace = Duration::try_from_secs_f64(grace).unwrap_or(TIMEOUT_GRACE);
                    self.take_down(cause, grace, now);
                }
                Command::Written(bytes) => {
                    for chunk in Chunker::new(&bytes, true) {
                        let length = u64::try_from(chunk.stream_len()).unwrap_or(0);
                        self.stdin_to = self.stdin_to.saturating_add(length);
                        self.disk.pending.push(Body::Stdin(output_of(&chunk, self.stdin_to)));
                    }
                    self.pump(now).ok();
                }
            }
        }
    }

    fn response(&self) -> Response {
        let processes = u32::try_from(self.agent.tree().len()).unwrap_or(u32::MAX);
        Response {
            keeper: i32::try_from(std::process::id()).unwrap_or(0),
            processes,
            survivors: None,
            error: None,
        }
    }

    fn take_down(&mut self, cause: Cause, grace: Duration, now: Instant) {
        self.disk.thaw(&self.agent, "the turn is being ended".to_owned());
        match &mut self.ladder {
            Some(ladder) => ladder.hurry(grace, now),
            None => self.ladder = Some(Ladder::begin(&self.agent, cause, grace, now)),
        }
    }

    /// Timeouts, limits, the disk, and the ladder once it is begun.
    fn enforce(&mut self, pumped: &Result<bool, WriteError>, now: Instant) {
        let full = matches!(pumped, Err(WriteError::NoSpace { .. }));
        // One that writes without pause can fill a disk between two looks at the clock.
        let hasty = matches!(pumped, Ok(true));
        if self.ladder.is_none() {
            let running = self.is_timed();
            if self.over_its_limit() && !self.gave_up {
                // What an agent left behind may not fill the disk, either.
                self.take_down(Cause::OutputLimit, Duration::ZERO, now);
            } else if running && self.wall_left().is_some_and(|left| left.is_zero()) {
                self.take_down(Cause::Timeout, TIMEOUT_GRACE, now);
            } else if running && self.idle_until().is_some_and(|until| now >= until) {
                self.take_down(Cause::IdleTimeout, TIMEOUT_GRACE, now);
            } else if full || hasty || now >= self.disk.next_look() {
                self.disk.look(&self.agent, self.paths.folder(), full, now);
            }
        }
        if let Some(ladder) = &mut self.ladder
            && let Progress::Done { survivors } = ladder.advance(&self.agent, now)
            && (survivors > 0 || matches!(self.exit, ExitState::Recorded))
        {
            self.ladder = None;
            // Who could not be killed is not killed again and again, unless somebody asks for it.
            self.gave_up = survivors > 0;
            self.control.stopped(&Response {
                survivors: Some(survivors),
                ..self.response()
            });
        }
    }

    fn wall_left(&self) -> Option<Duration> {
        let timeout = Duration::try_from_secs_f64(self.spec.timeout?).ok()?;
        Some(timeout.saturating_sub(self.agent.age()))
    }

    fn idle_until(&self) -> Option<Instant> {
        // A frozen agent cannot write; that is not its fault.
        let timeout = self.spec.idle_timeout.filter(|_| !self.disk.is_frozen())?;
        self.last_output.checked_add(Duration::try_from_secs_f64(timeout).ok()?)
    }

    fn is_timed(&self) -> bool {
        matches!(self.exit, ExitState::Running) && !self.gave_up
    }

    fn over_its_limit(&self) -> bool {
        self.writer.size() > self.spec.session_bytes
    }

    /// Waits for whatever comes first. Only what the next round will deal with may set the time, or it would spin.
    fn wait(&mut self, at_once: bool) {
        let now = Instant::now();
        let mut until = Vec::new();
        if let Some(ladder) = &self.ladder {
            until.push(ladder.next_look());
        } else {
            until.push(self.disk.next_look());
            if self.is_timed() {
                until.extend(self.wall_left().map(|left| now + left));
                until.extend(self.idle_until());
            }
        }
        if let Some(again) = self.write_again {
            until.push(again);
        } else {
            // Behind an agent that has gone no further event announces what is still to be read.
            let last_words = matches!(self.exit, ExitState::Due(..));
            until.extend((at_once || last_words).then_some(now));
            if !self.over_its_limit() {
                until.extend(self.streams.iter().filter_map(StreamFile::flush_at));
            }
        }
        until.extend(self.strangers_changed.then(|| now + LOOK_AGAIN));
        let mut interests = self.control.interests();
        let strangers = interests.len();
        interests.extend(self.pidfds.iter().map(|pidfd| (pidfd.as_fd(), PollFlags::POLLIN)));
        let ready = self.wakers.wait(&interests, until.into_iter().min());
        self.strangers_changed |= ready.get(strangers..).unwrap_or_default().contains(&true);
    }
}

/// Whether somebody else has written the turn's end since our last batch.
///
/// Read block by block: an earlier turn's keeper that has been silent for long finds all of a later turn there.
fn has_ended(batch: &Batch<'_>, folder: &Path, turn: u32) -> bool {
    if batch.foreign_from == batch.foreign_to() {
        return false;
    }
    let Ok(mut reader) = Reader::open(folder) else {
        return false;
    };
    reader.set_position(batch.foreign_from);
    while let Ok(Some(piece)) = reader.read() {
        let mut heads = whole_lines(&piece.bytes).filter_map(parse_head);
        if heads.any(|head| head.turn == turn && head.kind == Kind::Other("turn_ended")) {
            return true;
        }
    }
    false
}
