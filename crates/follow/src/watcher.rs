//! Waking readers when a journal has grown: one inotify instance for the whole server.
//!
//! Readers are woken at once. Who only keeps a state up to date is woken a moment later, once for a whole burst: a
//! second task that wakes at the same time would be handed to another processor, and readers would wait for that.

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

/// How often a journal is looked at when the kernel has no inotify instance or watch left for us.
const WITHOUT_INOTIFY: Duration = Duration::from_millis(20);

/// So much later than readers the keepers of a state are woken.
const LATER: Duration = Duration::from_millis(1);

/// Watches the journals that somebody reads.
#[derive(Debug)]
pub struct Watcher {
    /// `None` when the user's inotify instances (128 by default) are used up.
    inotify: Option<sys::Registered<Inotify>>,
    watched: Mutex<Watched>,
}

type Watched = HashMap<WatchDescriptor, Wakes>;

/// Who is woken for one journal.
#[derive(Debug, Default)]
struct Wakes {
    readers: watch::Sender<()>,
    states: watch::Sender<()>,
}

/// Wakes one reader of one journal.
#[derive(Debug)]
pub struct Watch {
    watcher: Arc<Watcher>,
    /// The kernel's watch, and how we hear of it; `None` where a timer must do.
    watched: Option<(WatchDescriptor, watch::Receiver<()>)>,
}

impl Watcher {
    /// Starts watching; needs a tokio runtime, on which a task distributes what the kernel says.
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
        tokio::spawn(distribute(Arc::clone(&watcher)));
        watcher
    }

    /// Watches one journal for a reader.
    pub fn watch(self: &Arc<Self>, path: &Path) -> Watch {
        self.subscribe(path, |wakes| &wakes.readers)
    }

    /// Watches one journal for who keeps a state of it: woken a moment after readers.
    pub fn watch_for_state(self: &Arc<Self>, path: &Path) -> Watch {
        self.subscribe(path, |wakes| &wakes.states)
    }

    fn subscribe(self: &Arc<Self>, path: &Path, whose: impl Fn(&Wakes) -> &watch::Sender<()>) -> Watch {
        let watched = self.inotify.as_ref().and_then(|inotify| {
            let mut watched = self.lock();
            // The kernel gives the same descriptor again for a file that is watched already.
            let descriptor = inotify.get_ref().add_watch(path, AddWatchFlags::IN_MODIFY).ok()?;
            Some((descriptor, whose(watched.entry(descriptor).or_default()).subscribe()))
        });
        let watcher = Arc::clone(self);
        Watch { watcher, watched }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn distribute(watcher: Arc<Watcher>) {
    let Some(inotify) = &watcher.inotify else { return };
    // Journals whose states are to be woken, and when.
    let (mut later, mut due) = (HashSet::new(), Instant::now());
    loop {
        let ready = tokio::select! {
            ready = inotify.readable() => ready,
            () = tokio::time::sleep_until(due), if !later.is_empty() => {
                let watched = watcher.lock();
                for descriptor in later.drain() {
                    if let Some(wakes) = watched.get(&descriptor) {
                        wakes.states.send_replace(());
                    }
                }
                continue;
            }
        };
        let Ok(mut ready) = ready else { return };
        match ready.get_inner().read_events() {
            Ok(events) => {
                let watched = watcher.lock();
                if later.is_empty() {
                    due = Instant::now() + LATER;
                }
                for event in events {
                    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                        watched.values().for_each(|wakes| wakes.readers.send_replace(()));
                        later.extend(watched.keys().copied());
                    } else if let Some(wakes) = watched.get(&event.wd) {
                        wakes.readers.send_replace(());
                        later.insert(event.wd);
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
    /// Waits until the journal has grown since the last call (or since the watch was made).
    pub async fn changed(&mut self) {
        match &mut self.watched {
            Some((_, receiver)) => {
                if receiver.changed().await.is_err() {
                    // The file was deleted: nothing will come any more.
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
            .is_some_and(|wakes| wakes.readers.receiver_count() == 0 && wakes.states.receiver_count() == 0)
        {
            watched.remove(&descriptor);
            if let Some(inotify) = &self.watcher.inotify {
                // Fails when the file has been deleted, and the watch with it.
                let _gone = inotify.get_ref().rm_watch(descriptor);
            }
        }
    }
}
