//! Waking readers when a journal has grown: one inotify instance for the whole server.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::sync::watch;

use crate::sys;

/// How often a journal is looked at when the kernel has no inotify instance or watch left for us.
const WITHOUT_INOTIFY: Duration = Duration::from_millis(20);

/// Watches the journals that somebody reads.
#[derive(Debug)]
pub struct Watcher {
    /// `None` when the user's inotify instances (128 by default) are used up.
    inotify: Option<sys::Registered<Inotify>>,
    watched: Mutex<HashMap<WatchDescriptor, watch::Sender<()>>>,
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

    /// Watches one journal.
    pub fn watch(self: &Arc<Self>, path: &Path) -> Watch {
        let watched = self.inotify.as_ref().and_then(|inotify| {
            let mut watched = self.lock();
            // The kernel gives the same descriptor again for a file that is watched already.
            let descriptor = inotify.get_ref().add_watch(path, AddWatchFlags::IN_MODIFY).ok()?;
            let sender = watched.entry(descriptor).or_insert_with(|| watch::Sender::new(()));
            Some((descriptor, sender.subscribe()))
        });
        Watch {
            watcher: Arc::clone(self),
            watched,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WatchDescriptor, watch::Sender<()>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn distribute(watcher: Arc<Watcher>) {
    let Some(inotify) = &watcher.inotify else { return };
    loop {
        let Ok(mut ready) = inotify.readable().await else {
            return;
        };
        match ready.get_inner().read_events() {
            Ok(events) => {
                let watched = watcher.lock();
                for event in events {
                    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                        watched.values().for_each(|sender| sender.send_replace(()));
                    } else if let Some(sender) = watched.get(&event.wd) {
                        sender.send_replace(());
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
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            watched.remove(&descriptor);
            if let Some(inotify) = &self.watcher.inotify {
                // Fails when the file has been deleted, and the watch with it.
                let _gone = inotify.get_ref().rm_watch(descriptor);
            }
        }
    }
}
