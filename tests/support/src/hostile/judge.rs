//! Checks what an `http` sink sent: nothing missing, everything in order, and repeated batches have the same key and the
//! same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Backend;
use super::memory::{Answered, Seen};
use super::wire::Request;

/// A path on which sinks with `view: "updates"` are judged: a record may give several of their lines, or none.
pub const UPDATES: &str = "/updates";

/// The first and last `seq` of a batch, from its key `<session>:<epoch>:<first>-<last>`; ids may hold colons.
pub(super) fn bounds(request: &Request) -> Option<(u64, u64)> {
    let (_, bounds) = request.key().rsplit_once(':')?;
    let (first, last) = bounds.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// What one session's sink has sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// The records that were taken over, each once, in order of first arrival.
    pub records: Vec<Value>,
    /// Batches that were taken over.
    pub batches: usize,
    /// Requests, however they were answered.
    pub requests: usize,
    /// Batches that were taken over again, under the same key.
    pub duplicates: usize,
    /// Batches that were cut because of a 413.
    pub splits: usize,
}

/// What was sent on one path, by session, after it was found to be in order.
#[derive(Debug, Default)]
pub struct Judged(pub BTreeMap<String, Sent>);

impl Judged {
    /// Fails unless a session's records are all there, and are what the server itself shows.
    pub fn assert_all(&self, session: &str, records: &[Value]) {
        let sent = self
            .0
            .get(session)
            .unwrap_or_else(|| panic!("nothing came from {session}"));
        for (sent, record) in sent.records.iter().zip(records) {
            assert_eq!(sent, record, "{session} sent something else than it shows");
        }
        assert_eq!(
            sent.records.len(),
            records.len(),
            "{session} did not send all, or too much"
        );
    }

    /// One number of all sessions together.
    pub fn total(&self, of: impl Fn(&Sent) -> usize) -> usize {
        self.0.values().map(of).sum()
    }
}

/// Judges everything that came on a path; fails where a promise was broken.
pub fn judge(backend: &Backend, path: &str) -> Judged {
    assert_eq!(
        backend.look(|log| log.overlaps.clone()),
        Vec::<String>::new(),
        "two at once"
    );
    let mut sessions: BTreeMap<String, Vec<Arc<Seen>>> = BTreeMap::new();
    for seen in backend.requests() {
        if seen.request.path == path {
            sessions
                .entry(seen.request.session().to_owned())
                .or_default()
                .push(seen);
        }
    }
    let judged = sessions.into_iter().map(|(session, mut requests)| {
        requests.sort_by_key(|seen| seen.at);
        let sent = judge_session(&session, &requests);
        (session, sent)
    });
    Judged(judged.collect())
}

fn judge_session(session: &str, requests: &[Arc<Seen>]) -> Sent {
    assert_keys(session, requests);
    let mut sent = Sent {
        requests: requests.len(),
        ..Sent::default()
    };
    let mut previous: Option<(u64, u64)> = None;
    // What is known of a batch: refused as too large, answered with success.
    let (mut too_large, mut answered) = (BTreeSet::new(), BTreeSet::new());
    let mut taken = BTreeSet::new();
    for seen in requests {
        let bounds = bounds(&seen.request).unwrap();
        let (first, last) = bounds;
        let in_order = match previous {
            None => first == 1,
            Some(before) if before == bounds => true,
            Some(before) if before.0 == first => too_large.contains(&before) && last < before.1,
            Some(before) => first == before.1 + 1 && answered.contains(&before),
        };
        assert!(
            in_order,
            "{session}: {first}-{last} came after {previous:?}:\n{}",
            lines(requests)
        );
        sent.splits += usize::from(previous.is_some_and(|before| before.0 == first && before != bounds));
        previous = Some(bounds);
        match seen.answered {
            Answered::Status(413) => drop(too_large.insert(bounds)),
            Answered::Status(200..300) => drop(answered.insert(bounds)),
            _ => {}
        }
        if seen.committed {
            if taken.insert(bounds) {
                sent.batches += 1;
                sent.records
                    .extend(seen.json()["records"].as_array().unwrap().iter().cloned());
            } else {
                sent.duplicates += 1;
            }
        }
    }
    if requests.iter().all(|seen| seen.request.path != UPDATES) {
        super::super::assert_no_holes(&sent.records, 1);
    }
    sent
}

/// Keys, headers and bodies say the same, and the same key always came with the same bytes.
fn assert_keys(session: &str, requests: &[Arc<Seen>]) {
    let mut bodies: BTreeMap<&str, &Arc<Seen>> = BTreeMap::new();
    for seen in requests {
        let request = &seen.request;
        let body = seen.json();
        let (first, last) = bounds(request).unwrap_or_else(|| panic!("a key without bounds: {:?}", request.key()));
        let epoch = request.header("promptd-epoch");
        assert!(!epoch.is_empty(), "no Promptd-Epoch: {:?}", request.headers);
        assert_eq!(request.key(), format!("{session}:{epoch}:{first}-{last}"));
        assert_eq!(request.method, "POST");
        assert_eq!(request.header("content-type"), "application/json");
        if request.wire.is_empty() {
            // Answered before it was read.
            continue;
        }
        let head = json!([body["session"], body["epoch"], body["first_seq"], body["last_seq"]]);
        assert_eq!(head, json!([session, epoch, first, last]), "key and body differ");
        let records = body["records"].as_array().unwrap();
        let seqs: Vec<_> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
        let right = match request.path.as_str() {
            UPDATES => seqs.is_sorted() && seqs.iter().all(|seq| (first..=last).contains(seq)),
            _ => seqs == (first..=last).collect::<Vec<_>>(),
        };
        assert!(right, "{} has other records: {seqs:?}", request.key());
        let before = bodies.entry(request.key()).or_insert(seen);
        assert!(
            before.request.wire == request.wire,
            "{} came with other bytes the second time:\n{}\n{}",
            request.key(),
            String::from_utf8_lossy(&before.request.body),
            String::from_utf8_lossy(&request.body),
        );
    }
}

fn lines(requests: &[Arc<Seen>]) -> String {
    let lines: Vec<_> = requests.iter().map(|seen| seen.line()).collect();
    lines.join("\n")
}
