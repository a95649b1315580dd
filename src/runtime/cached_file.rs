//! Small files of the home that are read again when they have changed, so that every reader gets what they hold now.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::runtime::error::RuntimeError;
use promptd_sys as sys;

/// The clock of file times ticks every few milliseconds, and what is written within one tick has the same time.
const TICK: Duration = Duration::from_millis(50);

/// The largest of these files.
const MAX_FILE: u64 = 64 << 20;

/// A file's content, as last read.
#[derive(Debug)]
pub(crate) struct CachedFile<T: ?Sized> {
    path: PathBuf,
    cached: Mutex<Cached<T>>,
}

#[derive(Debug)]
struct Cached<T: ?Sized> {
    /// Which version of the file the content comes from; `None` where the last version could not be used, or may look like
    /// the next one.
    version: Option<Version>,
    content: Arc<T>,
    /// The last problem, so that each is logged once.
    problem: String,
}

/// Inode, length and time of change; `None` where there is no file.
type Version = Option<(u64, u64, SystemTime)>;

impl<T: ?Sized> CachedFile<T> {
    /// `empty` is the content where there is no file.
    pub(crate) fn new(path: PathBuf, empty: Arc<T>) -> Self {
        let cached = Mutex::new(Cached {
            version: Some(None),
            content: empty,
            problem: String::new(),
        });
        Self { path, cached }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says now: `parse` takes its text, or `None` where there is no file. A file that cannot be read or
    /// parsed is not a missing file: `fallback` says what is in force instead.
    pub(crate) fn get(
        &self,
        parse: impl FnOnce(Option<&str>) -> Result<Arc<T>, String>,
        fallback: impl FnOnce(&Arc<T>) -> Arc<T>,
    ) -> Arc<T> {
        let found = version(&self.path);
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(version), Ok(found)) = (&cached.version, &found)
            && version == found
        {
            return Arc::clone(&cached.content);
        }
        let read = found.and_then(|version| Ok((version, version.map(|_| read(&self.path)).transpose()?)));
        let read = read
            .map_err(|error| error.to_string())
            .and_then(|(version, text)| Ok((version, parse(text.as_deref())?)));
        match read {
            Ok((version, content)) => {
                *cached = Cached {
                    version: Some(version).filter(is_older_than_a_tick),
                    content,
                    problem: String::new(),
                };
            }
            // Read again each time: some problems go away without a change of the file.
            Err(problem) => {
                if cached.problem != problem {
                    tracing::error!(path = %self.path.display(), problem, "a file of the home cannot be used");
                    cached.problem = problem;
                }
                cached.version = None;
                cached.content = fallback(&cached.content);
            }
        }
        Arc::clone(&cached.content)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = sys::read_own_or_linked(path, MAX_FILE)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// Whether every later change can be seen by its time. Else an old token could stay valid for ever. A time in the future is
/// none of this machine's clock, and no later change has it.
fn is_older_than_a_tick(version: &Version) -> bool {
    version.is_none_or(|(_, _, changed)| changed.elapsed().map_or(true, |age| age > TICK))
}

fn version(path: &Path) -> io::Result<Version> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some((metadata.ino(), metadata.len(), metadata.modified()?))),
        // A link to nothing is no missing file: reading it says so.
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => read(path).map(|_| None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A JSON file that the server also writes. Changes are made one after the other.
#[derive(Debug)]
pub(crate) struct JsonFile<T> {
    file: CachedFile<T>,
    parse: fn(&str) -> Result<T, String>,
    writing: Mutex<()>,
}

impl<T: Clone + Default + PartialEq + Serialize> JsonFile<T> {
    pub(crate) fn new(path: PathBuf, parse: fn(&str) -> Result<T, String>) -> Self {
        Self {
            file: CachedFile::new(path, Arc::default()),
            parse,
            writing: Mutex::default(),
        }
    }

    /// What the file says now; what it said before where it cannot be used.
    pub(crate) fn get(&self) -> Arc<T> {
        let parse = |text: Option<&str>| text.map_or_else(|| Ok(T::default()), self.parse).map(Arc::new);
        self.file.get(parse, Arc::clone)
    }

    /// Changes the content; false where it was like that already.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) -> Result<bool, RuntimeError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.get();
        let mut new = T::clone(&old);
        change(&mut new);
        if new == *old {
            return Ok(false);
        }
        let path = self.file.path();
        let written = serde_json::to_vec(&new)
            .map_err(io::Error::from)
            .and_then(|text| sys::replace_file(path, &text));
        written.map_err(|source| RuntimeError::Io {
            path: path.to_owned(),
            source,
        })?;
        // Read now, it stays in force when somebody spoils the file.
        drop(self.get());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(file: &CachedFile<str>) -> String {
        let parse = |text: Option<&str>| match text {
            Some("wrong") => Err("wrong".to_owned()),
            text => Ok(Arc::from(text.unwrap_or("no file"))),
        };
        file.get(parse, |_| Arc::from("fallback")).to_string()
    }

    #[test]
    fn only_a_missing_file_is_absent_and_a_mended_file_is_used_again() {
        let folder = std::env::temp_dir().join(format!("promptd-cached-file-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        let file = CachedFile::new(path.clone(), Arc::from("new"));
        assert_eq!(content(&file), "new", "as it was made");
        // A link to itself can be read by nobody, not even by root.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert_eq!(content(&file), "fallback");
        fs::remove_file(&path).unwrap();
        assert_eq!(content(&file), "no file");
        for (text, expected) in [("one", "one"), ("wrong", "fallback"), ("", ""), ("wrong", "fallback")] {
            sys::replace_file(&path, text.as_bytes()).unwrap();
            assert_eq!(content(&file), expected, "{text:?}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn changes_within_a_tick_and_of_the_same_length_are_seen() {
        let path = std::env::temp_dir().join(format!("promptd-cached-ticks-{}", std::process::id()));
        let file = CachedFile::new(path.clone(), Arc::from("new"));
        for number in 1_000..3_000 {
            // In place, as an editor or a shell writes.
            fs::write(&path, number.to_string()).unwrap();
            assert_eq!(content(&file), number.to_string());
        }
        fs::remove_file(path).unwrap();
    }
}
