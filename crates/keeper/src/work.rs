//! A keeper's life: from its start to an empty tree.

use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use nix::poll::PollFlags;

use super::agent::Agent;
use super::clock::{Age, RunningClock};
use super::control::{Command, Control, Response};
use super::disk::DiskGuard;
use super::ladder::{Ladder, Progress};
use super::marks::Marks;
use super::paths::TurnPaths;
use super::questions::Questions;
use super::spec::Spec;
use super::start::{KeeperError, begin, remove_files};
use super::stream::StreamFile;
use super::watch::Wakers;
use promptd_journal::{WriteError, Writer};
use promptd_model::{Body, Cause, Exited, len64};
use promptd_model::{Chunker, output_of};
use promptd_sys::{self as sys, PidFd, Waited};

/// One that runs into a timeout gets this long.
const TIMEOUT_GRACE: Duration = Duration::from_secs(5);

/// How long to wait before a tree that changed while it was looked at is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
    pub(super) clock: RunningClock,
    pub(super) age: Age,
    /// How far the setup is.
    pub(super) marks: Marks,
    /// When the agent wrote, or was written to.
    pub(super) last_words: Instant,
    pub(super) questions: Questions,
    /// The journal refused a batch; not before then again.
    pub(super) write_again: Option<Instant>,
    pub(super) buffer: Vec<u8>,
    /// Keeps every other keeper away.
    pub(super) _lock: Flock<std::fs::File>,
}

impl Keeper {
    fn run(mut self) -> Result<(), KeeperError> {
        loop {
            let now = self.clock.at(Instant::now());
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
            let age = self.age.at(now);
            self.exit_is_due(self.agent.exited(&exit, age, self.ladder.as_ref(), leftover));
            self.pump(now).ok();
        }
        Ok(childless && (self.agent.ours || self.look_at_strangers(now)))
    }

    fn exit_is_due(&mut self, mut exited: Exited) {
        self.marks.explain(&mut exited);
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
            self.age.at(now)
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
                .map_or_else(|| Some(self.agent.lost_cause()), |ladder| ladder.cause);
            self.exit_is_due(Exited {
                cause,
                lingered: cause.is_none(),
                duration: age.as_secs_f64(),
                leftover_processes: leftover,
                ..Exited::default()
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
                Command::Written { bytes, to, answer } => {
                    let mut at = to.saturating_sub(len64(&bytes));
                    for chunk in Chunker::new(&bytes, true) {
                        at = at.saturating_add(u64::try_from(chunk.stream_len()).unwrap_or(0));
                        self.disk.pending.push(Body::Stdin(output_of(&chunk, at)));
                    }
                    // Whoever is spoken to gets its time to answer.
                    self.last_words = now;
                    self.pump(now).ok();
                    if let Some(connection) = answer {
                        self.control.answer(connection, &Response::default());
                    }
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

    fn take_down(&mut self, cause: Option<Cause>, grace: Duration, now: Instant) {
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
                self.take_down(Some(Cause::OutputLimit), Duration::ZERO, now);
            } else if running && self.wall_left(now).is_some_and(|left| left.is_zero()) {
                self.take_down(Some(Cause::Timeout), TIMEOUT_GRACE, now);
            } else if running && self.idle_until().is_some_and(|until| now >= until) {
                if self.questions.are_open(self.paths.folder()) {
                    // It is not for the agent to speak. Looked at again after as long a time.
                    self.last_words = now;
                } else {
                    self.take_down(Some(Cause::IdleTimeout), TIMEOUT_GRACE, now);
                }
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

    fn wall_left(&self, now: Instant) -> Option<Duration> {
        let timeout = Duration::try_from_secs_f64(self.spec.timeout?).ok()?;
        Some(timeout.saturating_sub(self.age.at(now)))
    }

    fn idle_until(&self) -> Option<Instant> {
        // A frozen agent cannot write; that is not its fault. One that has not started is not silent, either.
        let timed = self.marks.are_over() && !self.disk.is_frozen();
        let timeout = self.spec.idle_timeout.filter(|_| timed)?;
        self.last_words.checked_add(Duration::try_from_secs_f64(timeout).ok()?)
    }

    fn is_timed(&self) -> bool {
        matches!(self.exit, ExitState::Running) && !self.gave_up
    }

    fn over_its_limit(&self) -> bool {
        self.writer.size() > self.spec.session_bytes
    }

    /// Waits for whatever comes first. Only what the next round will deal with may set the time, or it would spin.
    fn wait(&mut self, at_once: bool) {
        let now = self.clock.at(Instant::now());
        let mut until = Vec::new();
        if let Some(ladder) = &self.ladder {
            until.push(ladder.next_look());
        } else {
            until.push(self.disk.next_look());
            if self.is_timed() {
                until.extend(self.wall_left(now).map(|left| now + left));
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
        let until = until.into_iter().min();
        let ready = self.wakers.wait(&interests, until.map(|until| self.clock.real(until)));
        self.clock.woke(until, Instant::now());
        if matches!(self.exit, ExitState::Running) {
            // What cannot be kept costs the next keeper no more than its knowledge of this pause.
            let _kept = self.age.compare(self.agent.age(), self.clock.at(Instant::now()));
        }
        self.strangers_changed |= ready.get(strangers..).unwrap_or_default().contains(&true);
    }
}
