//! Changes without git: files whose content, name or mode was last changed while a turn ran.
//!
//! Uses the inode's change time, which programs cannot set. A file that was created since then is `added`, also if it
//! replaced an older one, as editors do; any other changed file is `modified`. Deleted files cannot be found.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::change::{Baseline, Change, ChangeStatus, MAX_FILES};

/// Maximum time for a scan; after it the result is incomplete.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The changed files, and whether there may be more.
pub(super) fn changes(baseline: &Baseline) -> (Vec<Change>, bool) {
    let begun = Instant::now();
    let mut changes = Vec::new();
    let mut folders = vec![baseline.cwd.clone()];
    while let Some(folder) = folders.pop() {
        if begun.elapsed() > TIMEOUT || changes.len() > MAX_FILES {
            return (changes, true);
        }
        // A folder that cannot be read, or was deleted meanwhile, is skipped.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                if entry.file_name() != ".git" && path != baseline.exclude {
                    folders.push(path);
                }
            } else if let Some(status) = status(&metadata, baseline)
                && let Ok(inside) = path.strip_prefix(&baseline.cwd)
            {
                changes.push(Change {
                    path: Path::new(inside).to_owned(),
                    from: None,
                    status,
                    size: Some(metadata.len()),
                });
            }
        }
    }
    (changes, false)
}

/// How a file or symbolic link was changed; `None` for other types.
fn status(metadata: &Metadata, baseline: &Baseline) -> Option<ChangeStatus> {
    let nanoseconds = i32::try_from(metadata.ctime_nsec()).ok()?;
    let changed = Timestamp::new(metadata.ctime(), nanoseconds).ok()?;
    if !(metadata.is_file() || metadata.is_symlink()) || !baseline.turns.iter().any(|turn| turn.contains(changed)) {
        return None;
    }
    let born = metadata.created().ok().and_then(|born| Timestamp::try_from(born).ok());
    // Some file systems do not store the creation time.
    Some(match born {
        Some(born) if born >= baseline.since => ChangeStatus::Added,
        Some(_) | None => ChangeStatus::Modified,
    })
}
