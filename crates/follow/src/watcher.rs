//! Wakes readers when a journal has grown: one inotify instance for the whole server.
//!
//! Readers are woken immediately. Tasks that keep a session's state are woken a moment later, once for a burst of records:
//! a second task that runs at the same time would move to another processor, and delay the readers.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::sync::watch;
use tokio::time::Instant;

use promptd_sys as sys;

/// How often a journal is checked if the kernel has no inotify instance or watch left.
const WITHOUT_INOTIFY: Duration = Duration::from_millis(20);

/// How much later than readers the tasks that keep a state are woken.
const STATE_DELAY: Duration = Duration::from_millis(1);

/// Watches all journals that have readers.
#[derive(Debug)]
pub struct Watcher {
    /// `None` if the user has no inotify instance left (of 128 by default).
    inotify: Option<sys::Registered<Inotify>>,
    watched: Mutex<Watched>,
}

type Watched = HashMap<WatchDescriptor, Listeners>;

/// The listeners of one journal.
#[derive(Debug, Default)]
struct Listeners {
    readers: watch::Sender<()>,
    states: watch::Sender<()>,
}

/// Waits for changes of one journal.
#[derive(Debug)]
pub struct Watch {
    watcher: Arc<Watcher>,
    /// The kernel's watch and its notifications; `None` if a timer is used.
    watched: Option<(WatchDescriptor, watch::Receiver<()>)>,
}

impl Watcher {
    /// Starts watching. Needs a tokio runtime, on which a task dispatches the events.
    pub fn start() -> Arc<Self> {
        let instance = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(io::Error::from);
        let inotify = instance.and_then(sys::register_inotify);
        let inotify = inotify
            .inspect_err(|error| tracing::warn!(%error, "no inotify instance left; raise fs.inotify.max_user_instances. Looking at journals on a timer"))
            .ok();
        let watcher = Arc::new(Self {
            inotify,
            watched: Mutex::default(),
        });
        tokio::spawn(dispatch_events(Arc::clone(&watcher)));
        watcher
    }

    /// Watches one journal for a reader.
    pub fn watch(self: &Arc<Self>, path: &Path) -> Watch {
        self.subscribe(path, |listeners| &listeners.readers)
    }

    /// Watches one journal for a task that keeps its state: woken a moment after readers.
    pub fn watch_for_state(self: &Arc<Self>, path: &Path) -> Watch {
        self.subscribe(path, |listeners| &listeners.states)
    }

    fn subscribe(self: &Arc<Self>, path: &Path, listener: impl Fn(&Listeners) -> &watch::Sender<()>) -> Watch {
        let watched = self.inotify.as_ref().and_then(|inotify| {
            let mut watched = self.lock();
            // The kernel returns the same descriptor for a file that is watched already.
            let descriptor = inotify.get_ref().add_watch(path, AddWatchFlags::IN_MODIFY).ok()?;
            Some((descriptor, listener(watched.entry(descriptor).or_default()).subscribe()))
        });
        let watcher = Arc::clone(self);
        Watch { watcher, watched }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn dispatch_events(watcher: Arc<Watcher>) {
    let Some(inotify) = &watcher.inotify else { return };
    // The journals whose state listeners will be woken, and when.
    let (mut delayed, mut due) = (HashSet::new(), Instant::now());
    loop {
        let ready = tokio::select! {
            ready = inotify.readable() => ready,
            () = tokio::time::sleep_until(due), if !delayed.is_empty() => {
                let watched = watcher.lock();
                for descriptor in delayed.drain() {
                    if let Some(listeners) = watched.get(&descriptor) {
                        listeners.states.send_replace(());
                    }
                }
                continue;
            }
        };
        let Ok(mut ready) = ready else { return };
        match ready.get_inner().read_events() {
            Ok(events) => {
                let watched = watcher.lock();
                if delayed.is_empty() {
                    due = Instant::now() + STATE_DELAY;
                }
                for event in events {
                    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                        watched
                            .values()
                            .for_each(|listeners| listeners.readers.send_replace(()));
                        delayed.extend(watched.keys().copied());
                    } else if let Some(listeners) = watched.get(&event.wd) {
                        listeners.readers.send_replace(());
                        delayed.insert(event.wd);
                    }
                }
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "inotify failed; journals are no longer followed. Restart the server");
                return;
            }
        }
    }
}

impl Watch {
    /// Waits until the journal has grown since the last call, or since the watch was created.
    pub async fn changed(&mut self) {
        match &mut self.watched {
            Some((_, receiver)) => {
                if receiver.changed().await.is_err() {
                    // The file was deleted, so there will be no more records.
                    std::future::pending::<()>().await;
                }
            }
            None => tokio::time::sleep(WITHOUT_INOTIFY).await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some((descriptor, receiver)) = self.watched.take() else {
            return;
        };
        let mut watched = self.watcher.lock();
        drop(receiver);
        if watched
            .get(&descriptor)
            .is_some_and(|listeners| listeners.readers.receiver_count() == 0 && listeners.states.receiver_count() == 0)
        {
            watched.remove(&descriptor);
            if let Some(inotify) = &self.watcher.inotify {
                // This fails if the file was deleted, because the watch was deleted with it.
                let _gone = inotify.get_ref().rm_watch(descriptor);
            }
        }
    }
}
