//! Supervising a turn with living processes: it always has a keeper.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::runtime::keeper::client::{ask, spawn};
use crate::runtime::keeper::handle::KeeperHandle;
use crate::runtime::session::handle::Session;
use crate::runtime::turn::tick::next_tick;
use promptd_keeper::{EXIT_ALREADY_RUNNING, Request, Spec, find_keeper};
use promptd_model::{Body, Cause, Exited};
use promptd_sys::{self as sys, PidFd, ProcessIdentity};

/// Keepers that die this often in a row, each as soon as it was started, are not killed by somebody: something is
/// wrong here, and the turn is given up.
const TRIES: u32 = 8;

/// A keeper that lived this long did not fail at its start.
const LIVED: Duration = Duration::from_millis(50);

/// One that exited by itself after this long had begun its work.
const WORKED: Duration = Duration::from_secs(10);

/// The wait before a second try; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// How long a keeper may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A wait for the answer that ends this much too late means that the machine was paused: the keeper had no time.
const LATE: Duration = Duration::from_secs(1);

/// Every so many checks of whether a keeper was stopped, it is also asked for an answer: every 30 s, and every 10 s while it
/// is silent.
const ROUNDS_PER_PING: u32 = 15;
const ROUNDS_WHILE_SILENT: u32 = 5;

/// A keeper that has not answered so many times in a row hangs. The agent's exit code is lost with it, so once is too few.
const SILENT_PINGS: u32 = 3;

/// When a keeper is asked for an answer, and when it hangs.
#[derive(Debug)]
struct Pings {
    rounds_left: u32,
    silent: u32,
}

impl Pings {
    const fn new() -> Self {
        Self {
            rounds_left: ROUNDS_PER_PING,
            silent: 0,
        }
    }

    /// Whether this round has a ping.
    fn is_due(&mut self) -> bool {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        self.rounds_left == 0
    }

    /// Counts the result of a ping; true when the keeper hangs.
    fn hangs_after(&mut self, is_silent: bool) -> bool {
        (self.silent, self.rounds_left) = if is_silent {
            (self.silent.saturating_add(1), ROUNDS_WHILE_SILENT)
        } else {
            (0, ROUNDS_PER_PING)
        };
        self.silent >= SILENT_PINGS
    }
}

/// A turn that a former server started.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// The epoch, for the record.
    pub epoch: String,
    /// It has not ended; the record is for such turns only.
    pub running: bool,
}

/// Begins to supervise a turn: starts a keeper, or where it is adopted first looks for the one that is there.
pub(crate) fn supervise(session: &Arc<Session>, spec: Spec, adopted: Option<Adopted>) -> Arc<KeeperHandle> {
    let turn = spec.turn;
    let keeper = Arc::new(KeeperHandle::new(session.id().to_string(), &session.folder, turn));
    session.control.add_keeper(Arc::clone(&keeper));
    let supervisor = Supervisor {
        session: Arc::clone(session),
        keeper: Arc::clone(&keeper),
        spec,
    };
    tokio::spawn(async move {
        supervisor.run(adopted).await;
        supervisor.session.control.remove_keeper(turn);
        supervisor.keeper.mark_tree_ended();
    });
    keeper
}

struct Supervisor {
    session: Arc<Session>,
    keeper: Arc<KeeperHandle>,
    spec: Spec,
}

impl Supervisor {
    async fn run(&self, adopted: Option<Adopted>) {
        if let Some(adopted) = adopted {
            let keeper = self.find_keeper().await;
            if adopted.running {
                self.record_recovery(adopted.epoch, keeper.is_none());
            }
            if self.wait_for(keeper).await {
                return;
            }
        }
        let (mut wait, mut tries) = (FIRST_WAIT, 0);
        let mut problem = String::new();
        while tries < TRIES && self.session.control.lost().is_none() {
            let born = Instant::now();
            let end = self.run_keeper().await;
            let is_taken = matches!(end, Ok(Some(code)) if code == i32::from(EXIT_ALREADY_RUNNING));
            // One that was killed may have been killed at once. One that gives up by itself does so again, however slow.
            let lived = if matches!(end, Ok(None)) { LIVED } else { WORKED };
            (wait, tries) = if born.elapsed() > lived && !is_taken {
                (FIRST_WAIT, 0)
            } else {
                (wait.saturating_mul(2), tries.saturating_add(1))
            };
            match end {
                Ok(Some(0)) => return,
                Ok(Some(_)) if is_taken => {
                    problem = "another process has locked the turn's output".to_owned();
                    let keeper = self.find_keeper().await;
                    if keeper.is_some() {
                        (wait, tries) = (FIRST_WAIT, 0);
                    }
                    if self.wait_for(keeper).await {
                        return;
                    }
                }
                Ok(Some(code)) => problem = format!("it exited with {code}"),
                Ok(None) => problem = "it was killed".to_owned(),
                Err(error) => problem = error.to_string(),
            }
            tracing::warn!(
                session = %self.session.id(), turn = self.spec.turn, problem,
                "the turn's keeper has gone; starting another"
            );
            tokio::time::sleep(wait).await;
        }
        if self.session.control.lost().is_none() {
            self.give_up(&problem).await;
        }
    }

    async fn give_up(&self, problem: &str) {
        let turn = self.spec.turn;
        let exited = Exited {
            cause: Some(Cause::KeeperLost),
            error: Some(format!(
                "no keeper could be kept running ({problem}); the output so far is in the journal"
            )),
            ..Exited::default()
        };
        let given_up = self.session.transact(move |_, state| {
            let is_known = state.turn(turn).is_none_or(|turn| turn.exited.is_some());
            let record = (!is_known).then_some((turn, Body::Exited(exited)));
            (record.into_iter().collect(), ())
        });
        if let Err(error) = given_up.await {
            tracing::error!(session = %self.session.id(), %error, "a turn without keeper could not be ended");
        }
    }

    /// Runs one keeper to its end; its exit code, or `None` when it was killed.
    async fn run_keeper(&self) -> io::Result<Option<i32>> {
        let spec = self.spec.clone();
        let mut child = tokio::task::spawn_blocking(move || spawn(&spec)).await??;
        let pid = child.pid();
        self.keeper.set_pid(Some(pid));
        // Our own child: its pid is not used again until we have waited for it.
        if let Some(identity) = sys::identity(pid) {
            self.watch(identity).await;
        }
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        self.keeper.set_pid(None);
        Ok(status.code())
    }

    /// A keeper that is at work already.
    async fn find_keeper(&self) -> Option<ProcessIdentity> {
        if let Ok(response) = ask(&self.keeper.paths, &Request::Status, &[], TIMEOUT).await {
            return sys::identity(response.keeper);
        }
        // One that was stopped or hangs does not answer. It is watched like every other.
        find_keeper(&self.keeper.paths)
    }

    /// Waits for that keeper's end; false when it left work behind, or there is none.
    async fn wait_for(&self, keeper: Option<ProcessIdentity>) -> bool {
        let Some(identity) = keeper else { return false };
        self.keeper.set_pid(Some(identity.pid));
        self.watch(identity).await;
        self.keeper.set_pid(None);
        // A keeper that has done its work has removed the files.
        !self.keeper.paths.stdout().exists()
    }

    /// Waits for a keeper's end, and sees to it that it does its work until then.
    async fn watch(&self, keeper: ProcessIdentity) {
        tokio::select! {
            () = wait_for_end(PidFd::open(keeper)) => {}
            () = self.health_check(keeper) => wait_for_end(PidFd::open(keeper)).await,
        }
    }

    /// Wakes a keeper that somebody has stopped, and kills one that does not answer any more: else no timeout would hold.
    async fn health_check(&self, keeper: ProcessIdentity) {
        let mut pings = Pings::new();
        loop {
            next_tick().await;
            if sys::is_stopped(keeper) {
                tracing::warn!(session = %self.session.id(), turn = self.spec.turn, "somebody has stopped the turn's keeper; it is continued");
                sys::signal_all(&[keeper], Signal::SIGCONT);
            }
            if !pings.is_due() {
                continue;
            }
            let asked = Instant::now();
            let answer = ask(&self.keeper.paths, &Request::Ping, &[], TIMEOUT).await;
            let is_silent =
                answer.is_err_and(|error| matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock));
            // On a slow disk another keeper would be as slow.
            let is_excused = asked.elapsed() > TIMEOUT + LATE || sys::is_uninterruptible(keeper);
            if pings.hangs_after(is_silent && !is_excused) {
                tracing::error!(session = %self.session.id(), turn = self.spec.turn, "the turn's keeper does not answer; it is replaced");
                sys::signal_all(&[keeper], Signal::SIGKILL);
                return;
            }
        }
    }

    /// Writes that another server has adopted the turn. On a task of its own: another holder of the journal's lock must
    /// not keep us from supervising.
    fn record_recovery(&self, epoch: String, lost_keeper: bool) {
        let (session, turn) = (Arc::clone(&self.session), self.spec.turn);
        tokio::spawn(async move {
            let recovered = Body::Recovered { epoch, lost_keeper };
            if let Err(error) = session.transact(move |_, _| (vec![(turn, recovered)], ())).await {
                tracing::error!(session = %session.id(), %error, "an adopted session cannot be written to");
            }
        });
    }
}

async fn wait_for_end(pidfd: io::Result<PidFd>) {
    match pidfd.and_then(sys::register_pidfd) {
        Ok(end) => drop(end.readable().await),
        // It has gone already, or there are no descriptors left; the caller checks again either way.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "cannot wait for a keeper"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many checks a keeper that gives these answers is found to hang.
    fn hangs_after(answers: &[bool]) -> Option<u32> {
        let mut pings = Pings::new();
        let mut rounds = 0;
        for is_silent in answers {
            rounds += 1;
            while !pings.is_due() {
                rounds += 1;
            }
            if pings.hangs_after(*is_silent) {
                return Some(rounds);
            }
        }
        None
    }

    #[test]
    fn silent_keeper_is_found_within_a_minute_and_a_slow_one_is_kept() {
        // A check is every two seconds.
        assert_eq!(hangs_after(&[true, true, true]), Some(15 + 5 + 5));
        assert_eq!(hangs_after(&[false, true, true, false, true, true, false]), None);
    }
}
