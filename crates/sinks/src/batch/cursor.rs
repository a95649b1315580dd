//! A sink's cursor: `sinks/<file>.json` in the session's folder, replaced atomically.
//!
//! `seq` only moves after a 2xx answer. The bounds of a batch are written before its first attempt, so it stays the same
//! batch even if the server is killed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use promptd_sys as sys;

/// The version of the format.
const VERSION: u32 = 1;

/// The folder of the cursors in a session's folder.
const FOLDER: &str = "sinks";

/// What is compared before anything else.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    version: u32,
    /// The backend has every record up to this one.
    pub(crate) seq: u64,
    /// The backend was told that the session was created, if its kind sends that.
    #[serde(default)]
    pub(crate) created: bool,
    /// The epoch in which the last batch was cut.
    #[serde(default)]
    pub(crate) epoch: String,
    /// The batch that is being delivered.
    #[serde(default)]
    pub(crate) batch: Option<Bounds>,
    /// Maximum bytes of records per batch, after the backend has refused a larger one with 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
    /// What a newer version has written, too.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// The bounds of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Its first `seq`; 0 for the creation of the session.
    pub(crate) first: u64,
    /// Its last `seq`.
    pub(crate) last: u64,
    /// The epoch in which it was cut.
    pub(crate) epoch: String,
}

/// The largest cursor file.
const MAX_FILE: u64 = 1 << 20;

impl Default for Cursor {
    fn default() -> Self {
        Self {
            version: VERSION,
            seq: 0,
            created: false,
            epoch: String::new(),
            batch: None,
            limit: None,
            unknown: Map::new(),
        }
    }
}

impl Cursor {
    /// Reads a cursor; a missing file is a cursor at the start. `Unsupported` where only a newer version can read it.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let text = match sys::read_own(path, MAX_FILE) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text?,
        };
        let invalid = |error| io::Error::new(ErrorKind::InvalidData, error);
        let Versioned { version } = serde_json::from_slice(&text).map_err(invalid)?;
        if version == VERSION {
            return serde_json::from_slice(&text).map_err(invalid);
        }
        let error =
            format!("it has version {version}, and this program reads {VERSION}; start the version that wrote it");
        let is_newer = version > VERSION;
        let kind = if is_newer {
            ErrorKind::Unsupported
        } else {
            ErrorKind::InvalidData
        };
        Err(io::Error::new(kind, error))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        match sys::replace_file(path, &text) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Not recursive: a deleted session must not come back.
                match path.parent().map_or(Ok(()), std::fs::create_dir) {
                    // Another sink of the session has created it.
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                    Ok(()) | Err(_) => sys::replace_file(path, &text),
                }
            }
            written => written,
        }
    }
}

/// The file of one cursor, which can be closed for writing.
#[derive(Debug)]
pub(crate) struct CursorFile {
    path: PathBuf,
    /// The session was deleted: a new session may have the same folder.
    closed: Mutex<bool>,
}

impl CursorFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        let closed = Mutex::new(false);
        Self { path, closed }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the cursor, unless the file was closed.
    pub(crate) fn write(&self, cursor: &Cursor) -> io::Result<()> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(io::Error::other("the session was deleted"));
        }
        cursor.write(&self.path)
    }

    /// Prevents further writes.
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

/// The path of a sink's cursor.
pub(crate) fn cursor_path(session: &Path, file: &str) -> PathBuf {
    session.join(FOLDER).join(format!("{file}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cursor_survives_a_round_trip() {
        let session = sys::TemporaryFolder::new("cursor").unwrap();
        let path = cursor_path(&session, "global.http");
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
        std::fs::remove_dir_all(&*session).unwrap();
        assert!(cursor.write(&path).is_err(), "a deleted session does not come back");
        assert!(!session.exists());
    }

    #[test]
    fn fields_of_a_newer_version_stay_and_its_format_is_no_damage() {
        let session = sys::TemporaryFolder::new("cursor-next").unwrap();
        let path = session.join("cursor.json");
        std::fs::write(
            &path,
            r#"{"version":1,"seq":7,"epoch":"e","acked_at":"noon","shards":[1,2]}"#,
        )
        .unwrap();
        let mut cursor = Cursor::read(&path).unwrap();
        assert_eq!((cursor.seq, cursor.epoch.as_str()), (7, "e"));
        cursor.seq = 8;
        cursor.write(&path).unwrap();
        let written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(written["seq"], 8);
        assert_eq!(
            (&written["acked_at"], &written["shards"][1]),
            (&"noon".into(), &2.into())
        );
        std::fs::write(&path, r#"{"version":2,"position":{"seq":9}}"#).unwrap();
        assert_eq!(Cursor::read(&path).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn first_cursors_can_be_written_concurrently() {
        for _ in 0..20 {
            let session = sys::TemporaryFolder::new("cursors").unwrap();
            let barrier = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for sink in 0..8 {
                    let path = cursor_path(&session, &sink.to_string());
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        Cursor::default().write(&path).unwrap();
                    });
                }
            });
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn garbage_is_an_error(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let folder = sys::TemporaryFolder::new("garbage").unwrap();
            let path = folder.join("cursor");
            std::fs::write(&path, text).unwrap();
            prop_assert!(Cursor::read(&path).is_err());
        }
    }
}
