//! Whether there is room for more work.

use std::sync::Arc;

use nix::unistd::{AccessFlags, access};

use crate::runtime::error::RuntimeError;
use crate::runtime::launch::catalog;
use crate::runtime::session::registry::SessionRegistry;
use crate::runtime::settings::SettingsStore;
use crate::runtime::signals::{Activity, Shutdown};
use crate::runtime::turn::queue::TurnQueue;
use promptd_model::SessionState;
use promptd_sys as sys;

/// Seconds after which a full queue is worth another try.
const RETRY_AFTER: u64 = 5;

/// The limits on new work.
#[derive(Debug)]
pub(crate) struct Admission {
    settings: Arc<SettingsStore>,
    registry: Arc<SessionRegistry>,
    queue: Arc<TurnQueue>,
    activity: Arc<Activity>,
    shutdown: Arc<Shutdown>,
}

impl Admission {
    pub(crate) fn new(
        settings: Arc<SettingsStore>,
        registry: Arc<SessionRegistry>,
        queue: Arc<TurnQueue>,
        activity: Arc<Activity>,
        shutdown: Arc<Shutdown>,
    ) -> Self {
        Self {
            settings,
            registry,
            queue,
            activity,
            shutdown,
        }
    }

    /// Refuses work that there is no room for.
    pub(crate) fn check(&self, with_prompt: bool) -> Result<(), RuntimeError> {
        if self.shutdown.has_begun() {
            return Err(RuntimeError::ShuttingDown);
        }
        let settings = self.settings.get();
        let limits = &settings.limits;
        let space = sys::disk_space(&settings.home).map_err(|source| RuntimeError::Io {
            path: settings.home.clone(),
            source,
        })?;
        if space.free < limits.min_free_bytes {
            // There may be room beside closed sessions.
            self.activity.notify_low_disk_space();
            return Err(RuntimeError::DiskFull {
                free: space.free,
                min_free: limits.min_free_bytes,
            });
        }
        if with_prompt && self.queued_turns() >= limits.queued {
            return Err(RuntimeError::QueueFull {
                queued: limits.queued,
                retry_after: RETRY_AFTER,
            });
        }
        Ok(())
    }

    /// Turns that wait for a permit, and turns behind another one of their own session.
    fn queued_turns(&self) -> usize {
        let behind = |state: &SessionState| {
            let open = state.turns.iter().filter(|turn| turn.ended().is_none()).count();
            open.saturating_sub(1)
        };
        let sessions = self.registry.all_with_new();
        let driven = sessions.iter().filter(|session| session.control.is_driven());
        let behind: usize = driven.map(|session| behind(&session.state())).sum();
        behind.saturating_add(self.queue.waiting())
    }

    /// What keeps the server from taking work; nothing, if it is ready.
    pub(crate) fn problems(&self) -> Vec<String> {
        let settings = self.settings.get();
        let mut problems = Vec::new();
        for (what, path) in [("home", &settings.home), ("workspace", &settings.workspace)] {
            let made = std::fs::create_dir_all(path);
            let writable = made.and_then(|()| Ok(access(path, AccessFlags::W_OK)?));
            if let Err(error) = writable {
                problems.push(format!("the {what} {} is not writable: {error}", path.display()));
            }
        }
        problems.extend(self.check(false).err().map(|error| error.to_string()));
        if catalog::list(&settings).iter().all(|agent| agent.path.is_none()) {
            problems.push("no agent is installed; `promptd doctor` tells how to install one".to_owned());
        }
        problems
    }
}
