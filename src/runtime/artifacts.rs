//! Which changes are a session's artifacts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::session::handle::Session;
use promptd_artifacts::{Baseline, Span};
use promptd_model::TurnState;

/// The prefix of folders for one comparison; our process id follows.
const SCRATCH: &str = "artifacts-";

/// When the session's turns ran: each from the start of its agent, or from its acceptance where only a later attempt's start
/// is known. A turn that left processes behind goes on with them.
fn turns(session: &Session) -> Vec<Span> {
    let state = session.latest();
    let span = |turn: &TurnState| {
        let (started, recorded) = turn.started.as_ref()?;
        let first = started.begun.unwrap_or(*recorded);
        let has_left = turn.exited.as_ref().is_some_and(|exited| exited.leftover_processes > 0);
        Some(Span {
            start: if turn.attempt > 1 { turn.accepted_at } else { first },
            end: turn.ended_at.filter(|_| !has_left),
        })
    };
    state.turns.iter().filter_map(|turn| span(turn)).collect()
}

/// Whether another session worked in the same folder, in one above or in one below, while this one did. Of a session with a
/// folder of its own, only those count that were given this folder.
pub(crate) fn is_shared(session: &Session, others: &[Arc<Session>]) -> bool {
    let mine = turns(session);
    others.iter().any(|other| {
        let is_near = match session.own_folder() {
            Some(own) => other.cwd().starts_with(own),
            None => other.cwd().starts_with(session.cwd()) || session.cwd().starts_with(other.cwd()),
        };
        let overlaps = |theirs: &Span| mine.iter().any(|span| span.overlaps(theirs));
        other.id() != session.id() && is_near && turns(other).iter().any(overlaps)
    })
}

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
        turns: turns(session),
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
