//! Which changes are a session's artifacts.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::session::handle::Session;
use promptd_artifacts::Baseline;

/// The prefix of folders for one comparison; our process id follows.
const SCRATCH: &str = "artifacts-";

/// What is to be compared with what, but for files below `exclude`; nothing before the session's first agent has started.
pub(crate) fn of_session(session: &Session, exclude: &Path) -> Option<Baseline> {
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
        exclude: exclude.to_owned(),
    })
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
