//! Giving up a session whose journal is gone or damaged: nothing that happens in it can be recorded any more.

use std::sync::Arc;

use crate::runtime::blocking::run_blocking;
use crate::runtime::session::handle::Session;
use promptd_keeper::end_all_processes;

/// Ends all processes of the session, and reports it as damaged from now on. No other session is affected. Answers how
/// many processes survived.
pub(crate) async fn abandon(session: &Arc<Session>, reason: String) -> u32 {
    tracing::error!(
        session = %session.id(), reason,
        "a session's journal is gone or damaged: its processes are ended, and it is not continued"
    );
    session.control.mark_lost(reason);
    session.sink_workers.close();
    let folder = session.folder.clone();
    // Without a thread for it the server is ending, and the next one finds the damage.
    let ended = run_blocking(move || Ok(end_all_processes(&folder))).await;
    let survivors = ended.unwrap_or(0);
    if survivors > 0 {
        tracing::error!(session = %session.id(), survivors, "some of its processes cannot be ended");
    }
    survivors
}
