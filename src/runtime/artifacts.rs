//! Where a session's changes are looked for.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::{Runtime, Session};
use promptd_artifacts::Baseline;

/// Folders that are ours while somebody looks begin with this, and go on with our process id.
const SCRATCH: &str = "artifacts-";

impl Runtime {
    /// What is to be compared with what; nothing before the session's first agent has begun.
    pub fn artifacts(&self, session: &Session) -> Option<Baseline> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let state = session.latest();
        let (started, recorded) = state.first_start.clone()?;
        let ours = format!("{SCRATCH}{}-", std::process::id());
        remove_stale(&session.folder, &ours);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Some(Baseline {
            cwd: session.cwd().to_owned(),
            commit: started.commit,
            since: started.begun.unwrap_or(recorded),
            scratch: session.folder.join(format!("{ours}{count}")),
            exclude: self.settings().home.clone(),
        })
    }
}

/// Removes what a server that was killed has left.
fn remove_stale(folder: &Path, ours: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(SCRATCH) && !name.starts_with(ours) {
            // What cannot be removed now goes with the session's folder.
            let _gone = std::fs::remove_dir_all(entry.path());
        }
    }
}
