//! The loop of a keeper.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use super::keeper::{ExitState, Keeper};
use super::limits::STOP_GRACE;
use super::start::start;
use crate::control::{ControlEvent, Response};
use crate::error::KeeperError;
use crate::stream::StreamFile;
use promptd_model::{Body, Chunker, len64, output_of};

/// How long to wait before an adopted tree that has changed is scanned again.
const RESCAN_DELAY: Duration = Duration::from_millis(20);

/// How often the pipe of an agent that has exited is checked.
const DRAIN_CHECK: Duration = Duration::from_millis(5);

/// Starts or adopts the agent of a turn, and keeps the turn until its process tree is empty.
pub(crate) fn keep_turn() -> Result<(), KeeperError> {
    match start()? {
        Some(keeper) => keeper.run(),
        None => Ok(()),
    }
}

impl Keeper {
    fn run(mut self) -> Result<(), KeeperError> {
        loop {
            let now = self.clock.read(Instant::now());
            let pumped = self.pump(now);
            let tree_is_empty = self.reap(now)?;
            self.handle_requests(now);
            self.enforce_limits(&pumped, now);
            let recorded = matches!(self.exit, ExitState::Recorded) && self.pending.is_empty();
            if tree_is_empty && recorded && self.streams.iter().all(|stream| stream.has_reached(stream.size())) {
                self.control.answer_stops(&Response {
                    survivors: Some(0),
                    ..self.status()
                });
                self.paths.remove_all();
                return Ok(());
            }
            self.control.remove_closed();
            self.wait(matches!(pumped, Ok(true)));
        }
    }

    fn handle_requests(&mut self, now: Instant) {
        for event in self.control.process() {
            match event {
                ControlEvent::Status(connection) => {
                    let status = self.status();
                    self.control.answer(connection, &status);
                }
                ControlEvent::Stop { grace, cause } => {
                    let grace = Duration::try_from_secs_f64(grace).unwrap_or(STOP_GRACE);
                    self.stop_tree(cause, grace, now);
                }
                ControlEvent::Written { bytes, to, answer } => {
                    let mut at = to.saturating_sub(len64(&bytes));
                    for chunk in Chunker::new(&bytes, true) {
                        at = at.saturating_add(u64::try_from(chunk.stream_len()).unwrap_or(0));
                        self.pending.push(Body::Stdin(output_of(&chunk, at)));
                    }
                    // After input the agent gets the full idle timeout to answer.
                    self.last_activity = now;
                    self.pump(now).ok();
                    if let Some(connection) = answer {
                        self.control.answer(connection, &Response::default());
                    }
                }
            }
        }
    }

    /// Waits for the next event. Only times at which the next round does something may count, or this would be a busy
    /// loop.
    fn wait(&mut self, more_output: bool) {
        let now = self.clock.read(Instant::now());
        let mut times = self.limit_times(now);
        if let Some(retry) = self.retry_write_at {
            times.push(retry);
        } else {
            // After the agent's exit no event announces the rest of its output.
            let exit_due = matches!(self.exit, ExitState::Due(..));
            times.extend((more_output || exit_due).then_some(now));
            if !self.is_over_limit() {
                times.extend(self.streams.iter().filter_map(StreamFile::flush_at));
            }
        }
        times.extend(self.adopted_tree_changed.then(|| now + RESCAN_DELAY));
        let is_draining = matches!(self.exit, ExitState::Draining(..));
        times.extend(is_draining.then(|| now + DRAIN_CHECK));
        let mut fds = self.control.poll_fds();
        let first_pidfd = fds.len();
        fds.extend(self.pidfds.iter().map(|pidfd| (pidfd.as_fd(), PollFlags::POLLIN)));
        let until = times.into_iter().min();
        let ready = self.wake.wait(&fds, until.map(|until| self.clock.to_system(until)));
        self.clock.end_wait(until, Instant::now());
        if matches!(self.exit, ExitState::Running) {
            let now = self.clock.read(Instant::now());
            // If this cannot be written, a later keeper counts this pause as running time.
            let _stored = self.age.store_pause(self.agent.kernel_age(), now);
        }
        self.adopted_tree_changed |= ready.get(first_pidfd..).unwrap_or_default().contains(&true);
    }
}
