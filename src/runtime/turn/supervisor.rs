//! Seeing to it that a turn with living processes has a keeper.

use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::runtime::session::Session;
use crate::runtime::turn::keeper_client::{ask, spawn};
use promptd_keeper::{EXIT_ALREADY_RUNNING, Request, Spec, TurnPaths};
use promptd_model::{Body, Cause, Exited};
use promptd_sys::{self as sys, PidFd, ProcessIdentity};

/// Keepers that die this often in a row, each as soon as it was started, are not killed by somebody: something is
/// wrong here, and the turn is given up.
const TRIES: u32 = 8;

/// A keeper that lived this long was not stillborn.
const LIVED: Duration = Duration::from_millis(50);

/// The wait before a second try; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// How long a keeper may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a turn came to this server: a former one started it.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// The epoch, for the record.
    pub epoch: String,
    /// It has not ended; the record is for such turns only.
    pub running: bool,
}

/// A turn's tender.
#[derive(Debug)]
pub(crate) struct Tender {
    pub(crate) paths: TurnPaths,
    /// The keeper's pid, or 0.
    keeper: AtomicI32,
    /// The turn's tree is empty, and all it wrote is in the journal.
    gone: watch::Sender<bool>,
    /// The agent's open standard input: a second holder, so that it outlives a keeper.
    stdin: Mutex<Option<std::fs::File>>,
}

impl Tender {
    /// Begins to tend a turn: starts a keeper, or where it is adopted first looks for the one that is there.
    pub(crate) fn begin(session: &Arc<Session>, spec: Spec, adopted: Option<Adopted>) -> Arc<Self> {
        let turn = spec.turn;
        let (gone, _) = watch::channel(false);
        let paths = TurnPaths::new(&session.folder, turn);
        let tender = Arc::new(Self {
            paths,
            keeper: AtomicI32::new(0),
            gone,
            stdin: Mutex::default(),
        });
        session.duties().tenders.insert(turn, Arc::clone(&tender));
        let (task, session) = (Arc::clone(&tender), Arc::clone(session));
        tokio::spawn(async move {
            task.tend(&session, spec, adopted).await;
            session.duties().tenders.remove(&turn);
            task.gone.send_replace(true);
        });
        tender
    }

    /// Waits until the turn's tree is empty.
    pub(crate) async fn gone(&self) {
        // The sender lives in self, so it cannot be closed.
        let mut gone = self.gone.subscribe();
        let _gone = gone.wait_for(|gone| *gone).await;
    }

    /// Holds the agent's standard input open, too.
    pub(crate) fn hold_stdin(&self) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = std::fs::File::options();
        let fifo = options
            .read(true)
            .write(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(self.paths.stdin_fifo());
        *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = fifo.ok();
    }

    /// Lets go of it: the caller has closed it.
    pub(crate) fn release_stdin(&self) {
        *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // Without its name, no later keeper opens it again.
        let _gone = std::fs::remove_file(self.paths.stdin_fifo());
    }

    /// Ends a keeper that does not answer; another one takes its place.
    pub(crate) fn replace_keeper(&self) {
        let pid = self.keeper.load(Ordering::Relaxed);
        if pid > 0 {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    async fn tend(&self, session: &Arc<Session>, spec: Spec, adopted: Option<Adopted>) {
        if let Some(adopted) = adopted {
            let keeper = self.other().await;
            if adopted.running {
                say_recovered(session, spec.turn, adopted.epoch, keeper.is_none());
            }
            if self.follow(keeper).await {
                return;
            }
        }
        let (mut wait, mut tries) = (FIRST_WAIT, 0);
        let mut problem = String::new();
        while tries < TRIES {
            let born = Instant::now();
            let end = self.run(&spec).await;
            (wait, tries) = if born.elapsed() > LIVED {
                (FIRST_WAIT, 0)
            } else {
                (wait.saturating_mul(2), tries.saturating_add(1))
            };
            match end {
                Ok(Some(0)) => return,
                Ok(Some(code)) if code == i32::from(EXIT_ALREADY_RUNNING) => {
                    let keeper = self.other().await;
                    if self.follow(keeper).await {
                        return;
                    }
                }
                Ok(code) => {
                    problem = code.map_or_else(|| "it was killed".to_owned(), |code| format!("it exited with {code}"));
                }
                Err(error) => problem = error.to_string(),
            }
            tracing::warn!(session = %session.id(), turn = spec.turn, problem, "the turn's keeper has gone; starting another");
            tokio::time::sleep(wait).await;
        }
        let error = format!("no keeper could be kept running ({problem}); the output so far is in the journal");
        let given_up = session.transact(move |_, state| {
            let known = state.turn(spec.turn).is_none_or(|turn| turn.exited.is_some());
            let exited = Exited {
                cause: Some(Cause::KeeperLost),
                error: Some(error),
                ..Exited::default()
            };
            (
                if known {
                    Vec::new()
                } else {
                    vec![(spec.turn, Body::Exited(exited))]
                },
                (),
            )
        });
        if let Err(error) = given_up.await {
            tracing::error!(session = %session.id(), %error, "a turn without keeper could not be ended");
        }
    }

    /// Runs one keeper to its end; its exit code, or `None` when it was killed.
    async fn run(&self, spec: &Spec) -> io::Result<Option<i32>> {
        let spec = spec.clone();
        let mut child: Child = tokio::task::spawn_blocking(move || spawn(&spec)).await??;
        let pid = i32::try_from(child.id()).unwrap_or(0);
        self.keeper.store(pid, Ordering::Relaxed);
        // Our own child: its pid stays its own until we have waited for it.
        if let Some(identity) = sys::identity(pid) {
            wait_for_end(PidFd::open(identity)).await;
        }
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        self.keeper.store(0, Ordering::Relaxed);
        Ok(status.code())
    }

    /// A keeper that is at work already.
    async fn other(&self) -> Option<ProcessIdentity> {
        let response = ask(&self.paths, &Request::Status, &[], PATIENCE).await.ok()?;
        sys::identity(response.keeper)
    }

    /// Waits for that keeper's end; false when it left work behind, or there is none.
    async fn follow(&self, keeper: Option<ProcessIdentity>) -> bool {
        let Some(identity) = keeper else { return false };
        self.keeper.store(identity.pid, Ordering::Relaxed);
        wait_for_end(PidFd::open(identity)).await;
        self.keeper.store(0, Ordering::Relaxed);
        // A keeper whose work is done has removed the files.
        !self.paths.stdout().exists()
    }
}

/// Tells the journal that another server is here. On a task of its own: whatever holds the journal's lock must not
/// keep us from tending.
fn say_recovered(session: &Arc<Session>, turn: u32, epoch: String, lost_keeper: bool) {
    let session = Arc::clone(session);
    tokio::spawn(async move {
        let recovered = Body::Recovered { epoch, lost_keeper };
        if let Err(error) = session.transact(move |_, _| (vec![(turn, recovered)], ())).await {
            tracing::error!(session = %session.id(), %error, "an adopted session cannot be written to");
        }
    });
}

async fn wait_for_end(pidfd: io::Result<PidFd>) {
    match pidfd.and_then(sys::register_pidfd) {
        Ok(end) => drop(end.readable().await),
        // It has gone already, or there are no descriptors left; the caller looks again either way.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "cannot wait for a keeper"),
    }
}
