//! How far a sink is: `sinks/<file>.json` in the session's folder, replaced atomically.
//!
//! `seq` moves only when the backend has answered 2xx. The bounds of a batch are written down before it is tried for
//! the first time, so that it stays the same batch however often the server is killed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use promptd_sys as sys;

/// The version that this program writes, and the only one it reads.
const VERSION: u32 = 1;

/// The cursors' folder in a session's folder.
const FOLDER: &str = "sinks";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    version: u32,
    /// The backend has every record up to this one.
    pub(super) seq: u64,
    /// The backend knows that the session was created, if its kind wants to.
    #[serde(default)]
    pub(super) created: bool,
    /// The epoch in which the last batch was cut.
    #[serde(default)]
    pub(super) epoch: String,
    /// The batch that is being tried.
    #[serde(default)]
    pub(super) batch: Option<Bounds>,
    /// The most bytes of records that the backend was seen to take, after it had refused more (413).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<usize>,
}

/// Where a batch begins and ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bounds {
    /// Its first `seq`; 0 for the creation of the session.
    pub(super) first: u64,
    /// Its last `seq`.
    pub(super) last: u64,
    /// The epoch in which it was cut.
    pub(super) epoch: String,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            version: VERSION,
            seq: 0,
            created: false,
            epoch: String::new(),
            batch: None,
            limit: None,
        }
    }
}

impl Cursor {
    /// Reads a sink's cursor; one that was never written stands at the beginning.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text?,
        };
        let cursor: Self =
            serde_json::from_slice(&text).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if cursor.version == VERSION {
            return Ok(cursor);
        }
        let error = format!("it has version {}, this program reads {VERSION}", cursor.version);
        Err(io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Writes it.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        match sys::replace(path, &text) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Not recursive: the session may have been deleted meanwhile, and stays so.
                match path.parent().map_or(Ok(()), std::fs::create_dir) {
                    // Another sink of the session was faster.
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                    Ok(()) | Err(_) => sys::replace(path, &text),
                }
            }
            written => written,
        }
    }
}

/// Where a sink's cursor stands.
pub(super) fn path(session: &Path, file: &str) -> PathBuf {
    session.join(FOLDER).join(format!("{file}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_written() {
        let session = std::env::temp_dir().join(format!("promptd-cursor-{}", std::process::id()));
        std::fs::create_dir_all(&session).unwrap();
        let path = path(&session, "global.http");
        assert_eq!(Cursor::read(&path).unwrap(), Cursor::default());
        let bounds = Bounds {
            first: 5,
            last: 9,
            epoch: "e".to_owned(),
        };
        let cursor = Cursor {
            seq: 4,
            batch: Some(bounds),
            limit: Some(17),
            ..Cursor::default()
        };
        cursor.write(&path).unwrap();
        assert_eq!(Cursor::read(&path).unwrap(), cursor);
        std::fs::remove_dir_all(&session).unwrap();
        assert!(cursor.write(&path).is_err(), "a deleted session does not come back");
        assert!(!session.exists());
    }

    #[test]
    fn the_first_cursors_of_a_sessions_sinks_are_written_at_once() {
        let session = std::env::temp_dir().join(format!("promptd-cursors-{}", std::process::id()));
        for _ in 0..50 {
            std::fs::create_dir_all(&session).unwrap();
            let barrier = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for sink in 0..8 {
                    let path = path(&session, &sink.to_string());
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        Cursor::default().write(&path).unwrap();
                    });
                }
            });
            std::fs::remove_dir_all(&session).unwrap();
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let path = std::env::temp_dir().join(format!("promptd-cursor-garbage-{}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            prop_assert!(Cursor::read(&path).is_err());
        }
    }
}
