//! Tests of [`super`].

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::cursor::{Bounds, Cursor, CursorFile, cursor_path};
use super::{BatchContext, PreparedBatch, middle, prepare};
use crate::sink::{Scope, Sink};
use crate::source::SessionInfo;
use promptd_agents::updates::Translation;
use promptd_journal::{Reader, Writer, fold, reset_journal};
use promptd_model::Chunk;
use promptd_model::{Body, Exited, Gap, Prompt, SessionState, SinkKind, SinkRequest, Started, Stream, View};
use promptd_sys::TemporaryFolder;

struct Journal(TemporaryFolder);

impl Journal {
    fn new(name: &str, lengths: &[usize]) -> Self {
        let folder = TemporaryFolder::new(name).unwrap();
        let mut writer = Writer::open(&folder).unwrap();
        let mut batch = writer.lock(Timestamp::UNIX_EPOCH).unwrap();
        for length in lengths {
            let prompt = Prompt {
                text: "x".repeat(*length),
                ..Prompt::default()
            };
            batch.record(1, &Body::Prompt(prompt)).unwrap();
        }
        batch.write().unwrap();
        Self(folder)
    }

    fn context(&self, epoch: &str) -> BatchContext {
        BatchContext {
            info: SessionInfo {
                session: "s".to_owned(),
                agent: "shell".to_owned(),
                agent_id: "a".to_owned(),
                model: None,
                created_at: Timestamp::UNIX_EPOCH,
                sandbox: None,
            },
            folder: self.0.to_path_buf(),
            masker: None,
            translation: Translation::new(None, 0),
            state: Arc::new(SessionState {
                last_seq: u64::MAX,
                ..SessionState::default()
            }),
            epoch: epoch.to_owned(),
            now: Timestamp::UNIX_EPOCH,
            release_held: false,
            file: Arc::new(CursorFile::new(cursor_path(&self.0, &http().file()))),
            translators: Arc::default(),
        }
    }
}

fn http() -> Sink {
    let request = SinkRequest {
        kind: SinkKind::Http,
        url: Some("http://127.0.0.1:1/".to_owned()),
        ..SinkRequest::default()
    };
    Sink::all(&[request], Scope::Session).unwrap().remove(0)
}

fn http_of_updates() -> Sink {
    let request = SinkRequest {
        view: Some(View::Updates),
        ..http().request
    };
    Sink::all(&[request], Scope::Session).unwrap().remove(0)
}

fn taken(mut cursor: Cursor, prepared: &PreparedBatch) -> Cursor {
    cursor.seq = prepared.bounds.last;
    cursor.batch = None;
    cursor
}

#[test]
fn retry_has_the_same_bytes() {
    let journal = Journal::new("same", &[10, 20]);
    let (cursor, _, first) = prepare(&journal.context("e1"), Cursor::default(), &http()).unwrap();
    let on_disk = Cursor::read(&cursor_path(&journal.0, "http")).unwrap();
    assert_eq!(
        on_disk, cursor,
        "the bounds are on the disk before anybody sees the batch"
    );
    let mut writer = Writer::open(&journal.0).unwrap();
    let mut more = writer.lock(Timestamp::UNIX_EPOCH).unwrap();
    let thawed = Body::Thawed { reason: String::new() };
    more.record(1, &thawed).unwrap();
    more.write().unwrap();
    // After a restart in another epoch, with more in the journal.
    let (_, _, again) = prepare(&journal.context("e2"), on_disk, &http()).unwrap();
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!((first.bounds, first.messages), (again.bounds, again.messages));
}

#[test]
fn updates_do_not_depend_on_the_cache() {
    let journal = Journal::new("updates", &[3]);
    let mut writer = Writer::open(&journal.0).unwrap();
    let mut batch = writer.lock(Timestamp::UNIX_EPOCH).unwrap();
    batch.record(1, &Body::Started(Started::default())).unwrap();
    // One line of many records, so that every batch but the last depends on those before it.
    for to in 1..=40 {
        let chunk = Chunk {
            bytes: b"abc",
            eol: to % 17 == 0,
        };
        batch.output(1, Stream::Stderr, &chunk, to, false);
    }
    batch.record(1, &Body::Exited(Exited::default())).unwrap();
    batch.write().unwrap();
    let mut state = SessionState::default();
    fold(&mut Reader::open(&journal.0).unwrap(), &mut state).unwrap();
    let state = Arc::new(state);
    let context = || BatchContext {
        state: Arc::clone(&state),
        ..journal.context("e")
    };
    let (kept, mut cursor, mut bodies) = (context(), Cursor::default(), Vec::new());
    cursor.limit = Some(700);
    loop {
        let (next, _, prepared) = prepare(&kept, cursor, &http_of_updates()).unwrap();
        let Some(prepared) = prepared else { break };
        for again in [&kept, &context()] {
            let on_disk = Cursor::read(&cursor_path(&journal.0, "http")).unwrap();
            let (_, _, again) = prepare(again, on_disk, &http_of_updates()).unwrap();
            assert_eq!(again.unwrap().messages, prepared.messages);
        }
        bodies.push(serde_json::from_slice::<serde_json::Value>(&prepared.messages[0].body).unwrap());
        cursor = taken(next, &prepared);
    }
    assert!(bodies.len() > 5, "{bodies:?}");
    let records = bodies.iter().flat_map(|body| body["records"].as_array().unwrap());
    let found: Vec<_> = records
        .map(|record| {
            let line = record["update"]["line"].as_str().map(str::len);
            (record["seq"].as_u64().unwrap(), line)
        })
        .collect();
    let line = Some(17 * 3);
    assert_eq!(
        found,
        [
            (1, None),
            (2, None),
            (19, line),
            (36, line),
            (43, Some(6 * 3)),
            (43, None)
        ]
    );
    let mut expected = 1;
    for body in &bodies {
        assert_eq!(body["first_seq"], expected);
        expected = body["last_seq"].as_u64().unwrap() + 1;
    }
    assert_eq!(expected, 44);
}

#[test]
fn deleted_records_are_reported_by_a_gap() {
    let journal = Journal::new("gap", &[10, 20, 30]);
    let (mut cursor, ..) = prepare(&journal.context("e"), Cursor::default(), &http()).unwrap();
    cursor.batch = Some(Bounds {
        first: 1,
        last: 2,
        epoch: "e".to_owned(),
    });
    let gap = Body::Gap(Gap {
        stream: "journal".to_owned(),
        bytes: 60,
        ..Gap::default()
    });
    reset_journal(&journal.0, 4, Timestamp::UNIX_EPOCH, &gap).unwrap();
    let (_, _, prepared) = prepare(&journal.context("e"), cursor, &http()).unwrap();
    let prepared = prepared.unwrap();
    assert_eq!((prepared.bounds.first, prepared.bounds.last), (4, 4));
    assert!(String::from_utf8_lossy(&prepared.messages[0].body).contains("\"gap\""));
}

#[test]
fn two_records_can_be_divided_and_one_cannot() {
    let lines = |lengths: &[usize]| {
        let journal = Journal::new("middle", lengths);
        let mut lines = journal.context("e").open(0).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line);
        }
        all
    };
    assert_eq!(middle(&lines(&[5]), <[_]>::len), None);
    let seq = |lengths: &[usize]| middle(&lines(lengths), <[_]>::len).unwrap().0;
    assert_eq!(seq(&[5, 5]), 1);
    assert_eq!(seq(&[5, 5, 5, 5]), 2);
    assert_eq!(seq(&[9_000, 5, 5, 5]), 1);
    assert_eq!(seq(&[5, 5, 5, 9_000]), 3);
    let held = middle(&lines(&[5, 5, 5, 5, 5, 5]), |lines| lines.len() - 1).unwrap();
    assert_eq!(
        held.0, 2,
        "what a kind would hold back is not cut off from what follows it"
    );
    let (last, bytes) = middle(&lines(&[5, 60_000, 60_000]), <[_]>::len).unwrap();
    assert_eq!(last, 1);
    assert!(
        bytes > 60_000,
        "short records that come later still go together: {bytes}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn batches_have_no_gaps_and_respect_the_limit(
        lengths in proptest::collection::vec(0_usize..90_000, 1..12),
        limit in proptest::option::of(1_usize..200_000),
    ) {
        let journal = Journal::new("holes", &lengths);
        let mut cursor = Cursor::default();
        cursor.limit = limit;
        let limit = limit.unwrap_or(usize::MAX).min(256 << 10);
        let mut expected = 1;
        loop {
            let (next, scan, prepared) = prepare(&journal.context("e"), cursor, &http()).unwrap();
            let Some(prepared) = prepared else {
                prop_assert!(scan.unwrap().at_end);
                break;
            };
            let Bounds { first, last, .. } = prepared.bounds;
            prop_assert_eq!(first, expected);
            prop_assert!(last == first || prepared.messages[0].body.len() <= limit + 512);
            prop_assert_eq!(prepared.records, last - first + 1);
            expected = last + 1;
            cursor = taken(next, &prepared);
        }
        prop_assert_eq!(expected, u64::try_from(lengths.len()).unwrap() + 1);
    }
}
