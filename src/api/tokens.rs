//! The valid tokens: from the environment, else from `$PROMPTD_HOME/token`, read again when that file changes.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::Settings;

/// The token file's name in the home.
const FILE_NAME: &str = "token";

/// The tokens, as last read.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    /// Which state of the file was read; `None` when there was no file.
    stamp: Option<Stamp>,
    tokens: Arc<[String]>,
}

/// Changes whenever the file is written or replaced.
type Stamp = (u64, u64, i64, i64);

impl Tokens {
    /// The tokens that are valid now.
    pub(super) fn current(&self, settings: &Settings) -> Arc<[String]> {
        if settings.env_tokens.is_empty() {
            self.file(&settings.home.join(FILE_NAME))
        } else {
            settings.env_tokens.iter().cloned().collect()
        }
    }

    fn file(&self, path: &Path) -> Arc<[String]> {
        let stamp = fs::metadata(path).ok().as_ref().map(stamp);
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.stamp != stamp {
            match fs::read_to_string(path) {
                Ok(text) => {
                    *cached = Cached {
                        stamp,
                        tokens: lines(&text),
                    }
                }
                // There is a token, but not for us to read: closed, not open, until it can be read.
                Err(error) if stamp.is_some() => {
                    tracing::error!(path = %path.display(), %error, "cannot read the token file; requests are refused until it can be read");
                    if cached.tokens.is_empty() {
                        cached.tokens = [unknowable()].into();
                    }
                }
                Err(_) => *cached = Cached::default(),
            }
        }
        Arc::clone(&cached.tokens)
    }
}

/// A token that nobody has.
fn unknowable() -> String {
    crate::sys::random::<16>().map_or_else(|_| "\0".to_owned(), |random| format!("{random:02x?}"))
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn lines(text: &str) -> Arc<[String]> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_again_when_it_changes() {
        let path = std::env::temp_dir().join(format!("promptd-tokens-{}", std::process::id()));
        let tokens = Tokens::default();
        assert!(tokens.file(&path).is_empty());
        crate::sys::replace(&path, b"one\n\n two \n").unwrap();
        assert_eq!(*tokens.file(&path), ["one".to_owned(), "two".to_owned()]);
        crate::sys::replace(&path, b"six\n\n two \n").unwrap();
        assert_eq!(*tokens.file(&path), ["six".to_owned(), "two".to_owned()]);
        fs::remove_file(&path).unwrap();
        assert!(tokens.file(&path).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_closes_the_door() {
        let path = std::env::temp_dir().join(format!("promptd-tokens-folder-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        assert_eq!(Tokens::default().file(&path).len(), 1);
        fs::remove_dir(&path).unwrap();
    }
}
