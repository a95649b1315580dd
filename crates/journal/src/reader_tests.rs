//! Tests of [`super`].

use super::*;
use crate::Writer;
use promptd_model::{Body, Prompt};
use promptd_sys::TemporaryFolder;
use proptest::prelude::*;

fn journal(name: &str, texts: &[String]) -> TemporaryFolder {
    let folder = TemporaryFolder::new(name).unwrap();
    let mut writer = Writer::open(&folder).unwrap();
    for text in texts {
        let mut batch = writer.lock(jiff::Timestamp::UNIX_EPOCH).unwrap();
        batch
            .record(
                1,
                &Body::Prompt(Prompt {
                    text: text.clone(),
                    ..Prompt::default()
                }),
            )
            .unwrap();
        batch.write().unwrap();
    }
    folder
}

fn read_all(reader: &mut Reader) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = reader.read().unwrap() {
        all.extend_from_slice(&piece.bytes);
    }
    all
}

#[test]
fn every_seq_is_found() {
    let texts: Vec<String> = (0..60)
        .map(|n| "x".repeat(if n % 13 == 5 { 2 * BLOCK + 100 } else { n * 31 }))
        .collect();
    let folder = journal("seek", &texts);
    let mut reader = Reader::open(&folder).unwrap();
    for after in 0..60 {
        reader.seek(after).unwrap();
        let piece = reader.read_cached().unwrap().unwrap();
        assert!(piece.starts_line);
        assert_eq!(parse_head(&piece.bytes).unwrap().seq, after + 1);
    }
    reader.seek(60).unwrap();
    assert!(reader.read().unwrap().is_none());
    assert!(matches!(reader.seek(61), Err(SeekError::Ahead { last: 60 })));
    reader.seek(0).unwrap();
    assert_eq!(
        read_all(&mut reader),
        std::fs::read(folder.join(crate::FILE_NAME)).unwrap()
    );
}

#[test]
fn incomplete_line_is_not_read_and_then_removed() {
    use std::io::Write as _;
    let folder = journal("torn", &["one".into()]);
    let path = folder.join(crate::FILE_NAME);
    let whole = std::fs::read(&path).unwrap();
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"seq\":2,\"time\":\"20").unwrap();
    let mut reader = Reader::open(&folder).unwrap();
    assert_eq!(read_all(&mut reader), whole);
    let mut writer = Writer::open(&folder).unwrap();
    let mut batch = writer.lock(jiff::Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(batch.record(1, &Body::Frozen { reason: "disk".into() }).unwrap(), 2);
    batch.write().unwrap();
    let rest = read_all(&mut reader);
    assert_eq!(parse_head(&rest).unwrap().seq, 2);
}

#[test]
fn two_writers_produce_consecutive_records() {
    let folder = journal("two", &[]);
    let mut writers = [Writer::open(&folder).unwrap(), Writer::open(&folder).unwrap()];
    for n in 0..20_usize {
        let mut batch = writers[n % 3 % 2].lock(jiff::Timestamp::UNIX_EPOCH).unwrap();
        batch.record(1, &Body::Thawed { reason: String::new() }).unwrap();
        batch.write().unwrap();
    }
    let all = read_all(&mut Reader::open(&folder).unwrap());
    let seqs: Vec<u64> = all
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| parse_head(line).unwrap().seq)
        .collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn damaged_journal_does_not_panic(at in 0_usize..400, byte: u8, after in 0_u64..6) {
        let folder = journal("scribble", &["a".repeat(20), "b".repeat(50), "c".into()]);
        let path = folder.join(crate::FILE_NAME);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        std::fs::write(&path, &bytes).unwrap();
        let mut reader = Reader::open(&folder).unwrap();
        let _found = reader.seek(after);
        let _read = reader.read();
    }
}

#[test]
fn batch_without_line_ends_can_be_removed_again() {
    let folder = journal("hidden", &["x".to_owned()]);
    let mut reader = Reader::open(&folder).unwrap();
    let written = read_all(&mut reader);
    let size = reader.position();
    // What a writer does on a file system that cannot reserve space, until it finds the disk full.
    let hidden = crate::writer::without_line_ends(&written.repeat(3));
    let file = File::options().write(true).open(folder.join(crate::FILE_NAME)).unwrap();
    file.write_all_at(&hidden, size).unwrap();
    assert!(read_all(&mut reader).is_empty());
    file.set_len(size).unwrap();
    reader.check_length(reader.position()).unwrap();
    // When there is space again.
    let more = b"{\"seq\":2}\n";
    file.write_all_at(&crate::writer::without_line_ends(more), size)
        .unwrap();
    assert!(read_all(&mut reader).is_empty());
    file.write_all_at(more, size).unwrap();
    assert_eq!(read_all(&mut reader), more);
}

#[test]
fn failing_disk_is_no_damage_of_a_session() {
    for code in [5, 12, 23, 24, 116] {
        let error = io::Error::from_raw_os_error(code);
        assert!(!is_lasting(&error), "{error}");
    }
    let foreign = io::Error::new(ErrorKind::InvalidData, "no regular file");
    // A link, no permission, a file as a folder, a folder as a file.
    let others = [40, 13, 20, 21].map(io::Error::from_raw_os_error);
    for error in others.into_iter().chain([foreign]) {
        assert!(is_lasting(&error), "{error}");
    }
}
