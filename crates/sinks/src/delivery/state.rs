//! The state of one sink of one session.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::batch::{Cursor, CursorFile, TranslatorCache, cursor_path};
use crate::http::{Backend, ConnectionLimits};
use crate::sink::{Scope, Sink};
use promptd_model::SinkKind;

/// What a sink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// The backend has everything.
    #[default]
    Idle,
    /// Records are being delivered.
    Delivering,
    /// The last attempt failed and will be retried.
    Retrying,
    /// The backend refused. It is tried again every minute, and when the configuration changes.
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

/// The status of a sink, without its keys.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SinkKind,
    /// `session`, or `global` when it is from the configuration.
    #[schema(value_type = String)]
    pub scope: Scope,
    /// Scheme, host and port of its backend.
    pub destination: String,
    /// `idle` (the backend has everything), `delivering`, `retrying`, or `paused`: the backend refuses, and is tried
    /// again every minute and when the configuration changes.
    #[schema(value_type = String)]
    pub state: SinkState,
    /// The backend has every record up to this `seq`.
    pub acked_seq: u64,
    /// Records that the backend does not have.
    pub lag_records: u64,
    /// Seconds since the first of them was written.
    pub lag_seconds: f64,
    /// Why the last attempt failed; `None` after a success.
    pub last_error: Option<String>,
    /// Failed attempts since the last success.
    pub failures: u32,
}

/// The progress of a sink.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) state: SinkState,
    pub(super) acked: u64,
    /// `acked` is not on disk yet.
    pub(super) unwritten: bool,
    /// When the first undelivered record was written.
    pub(super) waiting_since: Option<Timestamp>,
    pub(super) error: Option<String>,
    pub(super) failures: u32,
}

/// One sink of one session.
#[derive(Debug)]
pub(super) struct SinkSlot {
    /// The file of its cursor.
    pub(super) file: Arc<CursorFile>,
    /// Changes with the configuration; the worker reads it before each attempt.
    sink: Mutex<(Arc<Sink>, Arc<Backend>)>,
    pub(super) progress: watch::Sender<Progress>,
    /// For a sink with `view=updates`.
    pub(super) translators: Arc<TranslatorCache>,
    /// Wakes the worker to check whether the session is at rest.
    pub(super) wake: Notify,
    /// Wakes the worker because its sink was reconfigured, so it need not wait before another attempt.
    pub(super) reconfigured: Notify,
    running: Mutex<Option<AbortHandle>>,
}

impl SinkSlot {
    pub(super) fn open(limits: &ConnectionLimits, folder: &Path, sink: Sink) -> Self {
        let path = cursor_path(folder, &sink.file());
        // The worker reports a cursor that cannot be read.
        let acked = Cursor::read(&path).map_or(0, |cursor| cursor.seq);
        let backend = limits.backend(&sink.kind.endpoint().url);
        Self {
            file: Arc::new(CursorFile::new(path)),
            sink: Mutex::new((Arc::new(sink), backend)),
            progress: watch::Sender::new(Progress {
                acked,
                ..Progress::default()
            }),
            translators: Arc::default(),
            wake: Notify::new(),
            reconfigured: Notify::new(),
            running: Mutex::default(),
        }
    }

    /// The current configuration of the sink, and its backend.
    pub(super) fn sink(&self) -> (Arc<Sink>, Arc<Backend>) {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the configuration of the sink.
    pub(super) fn reconfigure(&self, limits: &ConnectionLimits, sink: Sink) {
        if self.sink().0.request == sink.request {
            return;
        }
        let backend = limits.backend(&sink.kind.endpoint().url);
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::new(sink), backend);
        self.reconfigured.notify_one();
    }

    fn running(&self) -> MutexGuard<'_, Option<AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// Starts a worker with `spawn`; answers false after waking the worker that is running already.
    pub(super) fn start(&self, spawn: impl FnOnce() -> AbortHandle) -> bool {
        let mut running = self.running();
        if running.is_some() {
            self.wake.notify_one();
            return false;
        }
        *running = Some(spawn());
        true
    }

    /// Ends the worker, unless `more` says that there are new records. A later call of `start` starts a new one.
    pub(super) fn finish(&self, more: impl FnOnce() -> bool) -> bool {
        let mut running = self.running();
        let finished = !more();
        if finished {
            *running = None;
            self.translators.clear();
        }
        finished
    }

    /// Aborts the worker, and prevents further writes of the cursor.
    pub(super) fn close(&self) {
        self.file.close();
        if let Some(task) = self.running().take() {
            task.abort();
        }
    }

    /// Waits until the backend has everything up to `last` and the cursor is on disk, or until one of the states in
    /// `give_up` is reached.
    pub(super) async fn wait_delivered(&self, last: u64, give_up: &[SinkState]) {
        let mut progress = self.progress.subscribe();
        let done =
            |progress: &Progress| (progress.acked >= last && !progress.unwritten) || give_up.contains(&progress.state);
        // The sender is a field of self, so the channel is open.
        let _done = progress.wait_for(done).await.is_ok();
    }

    pub(super) fn status(&self, last_seq: u64) -> SinkStatus {
        let (sink, _) = self.sink();
        let progress = self.progress.borrow().clone();
        let lag_records = last_seq.saturating_sub(progress.acked);
        let since = progress.waiting_since.filter(|_| lag_records > 0);
        let state = match progress.state {
            // The worker has not seen them yet.
            SinkState::Idle if lag_records > 0 => SinkState::Delivering,
            state => state,
        };
        let lag_seconds = since.map_or(0.0, |since| Timestamp::now().duration_since(since).as_secs_f64());
        SinkStatus {
            name: sink.name.clone(),
            kind: sink.kind(),
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
