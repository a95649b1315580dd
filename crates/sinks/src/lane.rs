//! The sinks of one session: which there are, how far each is, and that each has at most one loop.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::cursor::{self, Cursor};
use super::gate::Backend;
use super::sink::{Scope, Sink};
use super::warm::Warm;
use super::{Delivery, Source, deliver};
use promptd_model::SinkKind;

/// What a sink does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SinkState {
    /// The backend has everything.
    #[default]
    Idle,
    /// Records are on their way.
    Delivering,
    /// The last attempt failed; the next one comes by itself.
    Retrying,
    /// The backend refused; it is tried again every minute, and when the configuration changes.
    Paused,
}

impl SinkState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Delivering, Self::Retrying, Self::Paused];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Delivering => "delivering",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
        }
    }
}

/// A sink, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SinkKind,
    /// Whose it is.
    pub scope: Scope,
    /// Scheme, host and port of its backend.
    pub destination: String,
    /// What it does.
    pub state: SinkState,
    /// The backend has every record up to this one.
    pub acked_seq: u64,
    /// Records that it does not have.
    pub lag_records: u64,
    /// Seconds since the first of them was written.
    pub lag_seconds: f64,
    /// Why the last attempt failed; none after one that did not.
    pub last_error: Option<String>,
    /// Attempts in a row that failed.
    pub failures: u32,
}

/// What changes about a sink.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) state: SinkState,
    pub(super) acked: u64,
    /// That is not on the disk yet.
    pub(super) unwritten: bool,
    /// When the first record was written that the backend does not have.
    pub(super) waiting_since: Option<Timestamp>,
    pub(super) error: Option<String>,
    pub(super) failures: u32,
}

/// One sink of one session.
#[derive(Debug)]
pub(super) struct Lane {
    /// Its cursor's file.
    pub(super) path: PathBuf,
    /// Changes with the configuration; the loop looks before each attempt.
    sink: Mutex<(Arc<Sink>, Arc<Backend>)>,
    pub(super) progress: watch::Sender<Progress>,
    /// What is open in the view that its backend gets.
    pub(super) warm: Warm,
    /// Tells the loop to look whether the session has come to rest.
    pub(super) poke: Notify,
    /// Tells the loop that its sink was configured anew: nobody need wait for what the old one said.
    pub(super) renewed: Notify,
    running: Mutex<Option<AbortHandle>>,
    /// Nothing may be written any more: another session may have the folder.
    closed: Mutex<bool>,
}

impl Lane {
    pub(super) fn open(delivery: &Delivery, folder: &Path, sink: Sink) -> Self {
        let path = cursor::path(folder, &sink.file());
        // A cursor that cannot be read is told of by the loop, which has to deal with it.
        let acked = Cursor::read(&path).map_or(0, |cursor| cursor.seq);
        let backend = delivery.gate.backend(sink.kind.url());
        Self {
            path,
            sink: Mutex::new((Arc::new(sink), backend)),
            progress: watch::Sender::new(Progress {
                acked,
                ..Progress::default()
            }),
            warm: Warm::default(),
            poke: Notify::new(),
            renewed: Notify::new(),
            running: Mutex::default(),
            closed: Mutex::new(false),
        }
    }

    /// Writes the cursor, unless the lane was closed meanwhile.
    pub(super) fn write(&self, cursor: &Cursor) -> io::Result<()> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(io::Error::other("the session was deleted"));
        }
        cursor.write(&self.path)
    }

    /// The sink, as it is configured now.
    pub(super) fn sink(&self) -> (Arc<Sink>, Arc<Backend>) {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, delivery: &Delivery, sink: Sink) {
        if self.sink().0.request == sink.request {
            return;
        }
        let backend = delivery.gate.backend(sink.kind.url());
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::new(sink), backend);
        self.renewed.notify_one();
    }

    fn running(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running().is_some()
    }

    fn begin(self: &Arc<Self>, delivery: &Arc<Delivery>, source: &Arc<dyn Source>) {
        let mut running = self.running();
        if running.is_some() {
            self.poke.notify_one();
            return;
        }
        let task = deliver::run(Arc::clone(delivery), Arc::clone(source), Arc::clone(self));
        *running = Some(tokio::spawn(task).abort_handle());
        drop(running);
        delivery.is_under_way(source, self);
    }

    /// The loop wants to end: it may, unless `more` says that something has come meanwhile. Whoever comes later
    /// starts it anew.
    pub(super) fn rest(&self, more: impl FnOnce() -> bool) -> bool {
        let mut running = self.running();
        let rests = !more();
        if rests {
            *running = None;
            self.warm.cool();
        }
        rests
    }

    fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if let Some(task) = self.running().take() {
            task.abort();
        }
    }

    /// Waits until the backend has everything up to `last` and the next server will know it, or a state is reached that
    /// makes waiting idle.
    pub(super) async fn delivered(&self, last: u64, idle: &[SinkState]) {
        let mut progress = self.progress.subscribe();
        let done =
            |progress: &Progress| (progress.acked >= last && !progress.unwritten) || idle.contains(&progress.state);
        // The sender lives in self, so it cannot be closed.
        let _done = progress.wait_for(done).await.is_ok();
    }

    fn status(&self, last_seq: u64) -> SinkStatus {
        let (sink, _) = self.sink();
        let progress = self.progress.borrow().clone();
        let lag_records = last_seq.saturating_sub(progress.acked);
        let since = progress.waiting_since.filter(|_| lag_records > 0);
        let state = match progress.state {
            // Its loop has not looked yet.
            SinkState::Idle if lag_records > 0 => SinkState::Delivering,
            state => state,
        };
        let lag_seconds = since.map_or(0.0, |since| Timestamp::now().duration_since(since).as_secs_f64());
        SinkStatus {
            name: sink.name.clone(),
            kind: sink.of,
            scope: sink.scope,
            destination: sink.destination(),
            state,
            acked_seq: progress.acked,
            lag_records,
            lag_seconds: lag_seconds.max(0.0),
            last_error: progress.error,
            failures: progress.failures,
        }
    }
}

/// The sinks of one session.
#[derive(Debug, Default)]
pub struct Lanes(Mutex<BTreeMap<String, Arc<Lane>>>);

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Lane>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that these sinks, and no others, get what they have not had yet; `None` where the session is gone.
    /// Which they are is asked for when nobody else can ask, so that who asks last has the last word.
    ///
    /// Needs a tokio runtime, and reads a small file for each sink that is new.
    pub fn attend(
        &self,
        delivery: &Arc<Delivery>,
        source: &Arc<dyn Source>,
        sinks: impl FnOnce() -> Option<Vec<Sink>>,
    ) {
        let mut lanes = self.lock();
        let Some(sinks) = sinks() else { return };
        lanes.retain(|file, lane| {
            let stays = sinks.iter().any(|sink| sink.file() == *file);
            if !stays {
                lane.close();
            }
            stays
        });
        for sink in sinks {
            let file = sink.file();
            if let Some(lane) = lanes.get(&file) {
                lane.put(delivery, sink);
            } else {
                let lane = Lane::open(delivery, source.folder(), sink);
                lanes.insert(file.clone(), Arc::new(lane));
            }
            if let Some(lane) = lanes.get(&file) {
                lane.begin(delivery, source);
            }
        }
    }

    /// Waits until the backends that answer have everything up to `last`, but no longer than `patience`.
    pub async fn finish(&self, last: u64, patience: Duration) {
        let lanes: Vec<_> = self.lock().values().cloned().collect();
        let finish = async {
            for lane in lanes {
                lane.delivered(last, &[SinkState::Retrying, SinkState::Paused]).await;
            }
        };
        let _late = tokio::time::timeout(patience, finish).await;
    }

    /// Whether any of them has something to deliver, or waits for more.
    pub fn is_busy(&self) -> bool {
        self.lock().values().any(|lane| lane.is_running())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Ends all loops: the session is being deleted.
    pub fn close(&self) {
        for lane in std::mem::take(&mut *self.lock()).values() {
            lane.close();
        }
    }

    /// What each sink does; `last_seq` is that of the session's journal.
    pub fn status(&self, last_seq: u64) -> Vec<SinkStatus> {
        self.lock().values().map(|lane| lane.status(last_seq)).collect()
    }

    /// The names of sinks whose backends do not have everything.
    pub fn behind(&self, last_seq: u64) -> Vec<String> {
        let behind = self.status(last_seq).into_iter();
        behind
            .filter(|status| status.lag_records > 0)
            .map(|status| status.name)
            .collect()
    }
}
