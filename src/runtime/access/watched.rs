//! A small file that is read again when it has changed: whoever asks gets what stands there now.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A file's content, as last read.
#[derive(Debug)]
pub(crate) struct Watched<T: ?Sized>(Mutex<Cached<T>>);

#[derive(Debug)]
struct Cached<T: ?Sized> {
    /// Which state of the file the content is of; `None` where it is of none.
    state: Option<State>,
    content: Arc<T>,
    /// What was wrong the last time, so that it is told once.
    complaint: String,
}

/// That there is no file, or its stamp.
type State = Option<Stamp>;

/// Changes whenever the file is written or replaced.
type Stamp = (u64, u64, i64, i64);

impl<T: ?Sized> Watched<T> {
    pub(crate) fn new(empty: Arc<T>) -> Self {
        Self(Mutex::new(Cached {
            state: Some(None),
            content: empty,
            complaint: String::new(),
        }))
    }

    /// What the file says now: `parse` takes its text, or `None` where there is no file. What cannot be looked at, read
    /// or parsed is no missing file: it leaves to `keep` what is in force instead.
    pub(crate) fn get(
        &self,
        path: &Path,
        parse: impl FnOnce(Option<&str>) -> Result<Arc<T>, String>,
        keep: impl FnOnce(&Arc<T>) -> Arc<T>,
    ) -> Arc<T> {
        let found = look(path);
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(state), Ok(found)) = (&cached.state, &found)
            && state == found
        {
            return Arc::clone(&cached.content);
        }
        let read = found.and_then(|state| Ok((state, state.map(|_| fs::read_to_string(path)).transpose()?)));
        let read = read
            .map_err(|error| error.to_string())
            .and_then(|(state, text)| Ok((state, parse(text.as_deref())?)));
        match read {
            Ok((state, content)) => {
                *cached = Cached {
                    state: Some(state),
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
                cached.state = None;
                cached.content = keep(&cached.content);
            }
        }
        Arc::clone(&cached.content)
    }
}

fn look(path: &Path) -> io::Result<State> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(stamp(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(watched: &Watched<str>, path: &Path) -> String {
        let parse = |text: Option<&str>| match text {
            Some("wrong") => Err("wrong".to_owned()),
            text => Ok(Arc::from(text.unwrap_or("no file"))),
        };
        watched.get(path, parse, |_| Arc::from("kept")).to_string()
    }

    #[test]
    fn only_a_file_that_is_not_there_is_absent_and_what_was_wrong_is_over_when_it_is_mended() {
        let folder = std::env::temp_dir().join(format!("promptd-watched-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        let watched = Watched::new(Arc::from("new"));
        assert_eq!(content(&watched, &path), "new", "as it was made");
        // A link to itself cannot be looked at, whoever asks.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert_eq!(content(&watched, &path), "kept");
        fs::remove_file(&path).unwrap();
        assert_eq!(content(&watched, &path), "no file");
        for (text, expected) in [("one", "one"), ("wrong", "kept"), ("", ""), ("wrong", "kept")] {
            promptd_sys::replace_file(&path, text.as_bytes()).unwrap();
            assert_eq!(content(&watched, &path), expected, "{text:?}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
