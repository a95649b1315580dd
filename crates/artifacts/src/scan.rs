//! Changes without git: files whose content, name or mode changed since a moment.
//!
//! By the inode's change time, which no program can set. A file that was born since is `added`, also one that took an
//! older one's place, as editors do it; any other is `modified`. What was deleted leaves no trace.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Change, MOST_FILES, Place, Status};

/// A folder that takes longer is looked through in part.
const PATIENCE: Duration = Duration::from_secs(20);

/// The changed files, and whether there may be more.
pub(super) fn changes(place: &Place) -> (Vec<Change>, bool) {
    let begun = Instant::now();
    let mut changes = Vec::new();
    let mut folders = vec![place.cwd.clone()];
    while let Some(folder) = folders.pop() {
        if begun.elapsed() > PATIENCE || changes.len() > MOST_FILES {
            return (changes, true);
        }
        // What cannot be read, or has gone meanwhile, tells nothing.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                if entry.file_name() != ".git" && path != place.except {
                    folders.push(path);
                }
            } else if let Some(status) = status(&metadata, place.since)
                && let Ok(inside) = path.strip_prefix(&place.cwd)
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

/// Links are files here, and sockets and the like are not.
fn status(metadata: &Metadata, since: Timestamp) -> Option<Status> {
    let nanoseconds = i32::try_from(metadata.ctime_nsec()).ok()?;
    let changed = Timestamp::new(metadata.ctime(), nanoseconds).ok()?;
    if !(metadata.is_file() || metadata.is_symlink()) || changed < since {
        return None;
    }
    let born = metadata.created().ok().and_then(|born| Timestamp::try_from(born).ok());
    // Not every file system keeps it.
    Some(match born {
        Some(born) if born >= since => Status::Added,
        Some(_) | None => Status::Modified,
    })
}
