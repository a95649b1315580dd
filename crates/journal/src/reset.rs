//! Replaces a journal whose records were deleted to free disk space.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use promptd_model::Body;
use promptd_model::{encode, time_text};
use promptd_sys as sys;

/// Replaces a session's journal by a single record with this `seq`. No writer may be active.
pub fn reset_journal(folder: &Path, seq: u64, now: Timestamp, body: &Body) -> io::Result<()> {
    let mut line = Vec::new();
    encode(&mut line, seq, &time_text(now), 0, body)?;
    sys::replace_file(&folder.join(super::FILE_NAME), &line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reader, SeekError, Writer};
    use promptd_model::Gap;
    use promptd_model::decode;

    #[test]
    fn readers_learn_that_records_were_deleted() {
        let folder = sys::TemporaryFolder::new("reset").unwrap();
        let body = Body::Gap(Gap {
            stream: "journal".to_owned(),
            bytes: 900,
            ..Gap::default()
        });
        reset_journal(&folder, 41, Timestamp::UNIX_EPOCH, &body).unwrap();
        let mut reader = Reader::open(&folder).unwrap();
        assert!(matches!(reader.seek(7), Err(SeekError::Expired { earliest: 41 })));
        reader.seek(40).unwrap();
        let piece = reader.read().unwrap().unwrap();
        let record = decode(&piece.bytes).unwrap();
        assert_eq!((record.seq, record.body), (41, body));
        let mut writer = Writer::open(&folder).unwrap();
        let mut batch = writer.lock(Timestamp::UNIX_EPOCH).unwrap();
        let thawed = Body::Thawed { reason: String::new() };
        assert_eq!(batch.record(0, &thawed).unwrap(), 42);
        drop(batch);
    }
}
