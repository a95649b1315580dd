//! A small file that is read again when it has changed: whoever asks gets what stands there now.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A file's content, as last read.
#[derive(Debug)]
pub(super) struct Watched<T: ?Sized>(Mutex<Cached<T>>);

#[derive(Debug)]
struct Cached<T: ?Sized> {
    /// Which state of the file was read; `None` when there was no file.
    stamp: Option<Stamp>,
    content: Arc<T>,
    /// What was wrong the last time, so that it is told once.
    complaint: String,
}

/// Changes whenever the file is written or replaced.
type Stamp = (u64, u64, i64, i64);

impl<T: ?Sized> Watched<T> {
    pub(super) fn new(empty: Arc<T>) -> Self {
        Self(Mutex::new(Cached {
            stamp: None,
            content: empty,
            complaint: String::new(),
        }))
    }

    /// What the file says now: `parse` takes its text, or `None` where there is no file. What cannot be read or parsed
    /// leaves to `keep` what is in force instead.
    pub(super) fn get(
        &self,
        path: &Path,
        parse: impl FnOnce(Option<&str>) -> Result<Arc<T>, String>,
        keep: impl FnOnce(&Arc<T>) -> Arc<T>,
    ) -> Arc<T> {
        let found = fs::metadata(path).ok().as_ref().map(stamp);
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.stamp == found {
            return Arc::clone(&cached.content);
        }
        let text = found.is_some().then(|| fs::read_to_string(path)).transpose();
        let read = text
            .map_err(|error| error.to_string())
            .and_then(|text| parse(text.as_deref()));
        match read {
            Ok(content) => {
                *cached = Cached {
                    stamp: found,
                    content,
                    complaint: String::new(),
                };
            }
            // It is tried again each time: not every reason changes the file.
            Err(error) => {
                if cached.complaint != error {
                    tracing::error!(path = %path.display(), error, "a file of the home cannot be used");
                    cached.complaint = error;
                }
                cached.content = keep(&cached.content);
            }
        }
        Arc::clone(&cached.content)
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}
