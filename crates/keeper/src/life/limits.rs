//! Enforcing timeouts, the size limit and free disk space, and stopping the process tree.

use std::time::{Duration, Instant};

use super::keeper::{ExitState, Keeper};
use crate::agent::{StopProgress, StopSequence};
use crate::control::Response;
use promptd_journal::WriteError;
use promptd_model::Cause;

/// The grace period of an agent that exceeds a timeout.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(5);

impl Keeper {
    /// Starts a stop sequence if a limit is exceeded, and advances the one that is running.
    pub(super) fn enforce_limits(&mut self, pumped: &Result<bool, WriteError>, now: Instant) {
        let full = matches!(pumped, Err(WriteError::NoSpace { .. }));
        // An agent that writes without pause can fill a disk between two regular checks.
        let more_output = matches!(pumped, Ok(true));
        if self.stop.is_none() {
            let timed = self.has_timeouts();
            if self.is_over_limit() && !self.stop_failed {
                // This includes processes that the agent left behind.
                self.stop_tree(Some(Cause::OutputLimit), Duration::ZERO, now);
            } else if timed && self.time_left(now).is_some_and(|left| left.is_zero()) {
                self.stop_tree(Some(Cause::Timeout), STOP_GRACE, now);
            } else if timed && self.idle_deadline().is_some_and(|deadline| now >= deadline) {
                if self.questions.check_open(self.paths.folder()) {
                    // The agent waits for an answer. Checked again after another idle timeout.
                    self.last_activity = now;
                } else {
                    self.stop_tree(Some(Cause::IdleTimeout), STOP_GRACE, now);
                }
            } else if full || more_output || now >= self.disk.next_check() {
                let record = self.disk.check(&self.agent, self.paths.folder(), full, now);
                self.pending.extend(record);
            }
        }
        if let Some(stop) = &mut self.stop
            && let StopProgress::Done { survivors } = stop.advance(&self.agent, now)
            && (survivors > 0 || matches!(self.exit, ExitState::Recorded))
        {
            self.stop = None;
            // Processes that cannot be killed are not killed again, unless a request asks for it.
            self.stop_failed = survivors > 0;
            self.control.answer_stops(&Response {
                survivors: Some(survivors),
                ..self.status()
            });
        }
    }

    /// Ends the process tree.
    pub(super) fn stop_tree(&mut self, cause: Option<Cause>, grace: Duration, now: Instant) {
        let record = self.disk.thaw(&self.agent, "the turn is being ended".to_owned());
        self.pending.extend(record);
        match &mut self.stop {
            Some(stop) => stop.shorten(grace, now),
            None => self.stop = Some(StopSequence::begin(&self.agent, cause, grace, now)),
        }
    }

    /// When the next check is due.
    pub(super) fn limit_times(&self, now: Instant) -> Vec<Instant> {
        if let Some(stop) = &self.stop {
            return vec![stop.next_scan()];
        }
        let mut times = vec![self.disk.next_check()];
        if self.has_timeouts() {
            times.extend(self.time_left(now).map(|left| now + left));
            times.extend(self.idle_deadline());
        }
        times
    }

    fn has_timeouts(&self) -> bool {
        matches!(self.exit, ExitState::Running) && !self.stop_failed
    }

    fn time_left(&self, now: Instant) -> Option<Duration> {
        let timeout = Duration::try_from_secs_f64(self.spec.timeout?).ok()?;
        Some(timeout.saturating_sub(self.age.at(now)))
    }

    fn idle_deadline(&self) -> Option<Instant> {
        // A frozen agent cannot write, and one that has not started yet is not idle.
        let applies = self.setup.is_complete() && !self.disk.is_frozen();
        let timeout = self.spec.idle_timeout.filter(|_| applies)?;
        self.last_activity
            .checked_add(Duration::try_from_secs_f64(timeout).ok()?)
    }
}
