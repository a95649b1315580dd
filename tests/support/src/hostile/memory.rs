//! The backend's log: every request, its response, and which requests overlapped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::wire::Request;

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Not yet; or never, when it hangs.
    Pending,
    /// With this status.
    Status(u16),
    /// With a reset.
    Reset,
    /// With something that is not HTTP.
    Garbage,
    /// The client had gone, or the backend went down.
    Gone,
}

/// One request that was read to its end.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: Request,
    /// When its head arrived.
    pub at: Instant,
    /// The same by the clock on the wall.
    pub time: Timestamp,
    /// The connection it came on.
    pub connection: usize,
    pub answered: Answered,
    /// The backend has taken it over.
    pub committed: bool,
}

impl Seen {
    /// The body as JSON; `null` when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.request.body).unwrap_or(Value::Null)
    }

    /// For messages of failed tests.
    pub fn line(&self) -> String {
        format!(
            "{} {} {} {} {} bytes: {:?}{}",
            self.time,
            self.request.method,
            self.request.path,
            self.request.key(),
            self.request.body.len(),
            self.answered,
            if self.committed { ", committed" } else { "" }
        )
    }
}

/// Everything that has happened.
#[derive(Debug, Default)]
pub struct Log {
    /// Requests that were read to their ends, in order of arrival of their heads.
    pub requests: Vec<Arc<Seen>>,
    /// Heads that arrived.
    pub heads: usize,
    /// Heads by `Idempotency-Key`.
    pub tries: BTreeMap<String, usize>,
    /// Connections that were ever let in.
    pub accepted: usize,
    /// Connections that failed before they were any use: TLS that the client gave up.
    pub broken_handshakes: usize,
    /// Connections now, and at most at any time.
    pub connections: usize,
    pub most_connections: usize,
    /// Requests that are being worked on now, and at most at any time.
    pub most_running: usize,
    /// Two batches of one session and sink at the same time.
    pub overlaps: Vec<String>,
    running: BTreeMap<usize, Running>,
    /// The highest `last_seq` that was committed, by path and session.
    last: BTreeMap<(String, String), u64>,
}

/// A request that is being worked on.
#[derive(Clone, Debug)]
struct Running {
    path: String,
    session: String,
    peer: SocketAddr,
}

impl Log {
    /// The last record of a session that was taken over on a path.
    pub fn last_seq(&self, path: &str, session: &str) -> u64 {
        let key = (path.to_owned(), session.to_owned());
        self.last.get(&key).copied().unwrap_or_default()
    }

    /// How many requests are being worked on.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How many requests were taken over.
    pub fn committed(&self) -> usize {
        self.requests.iter().filter(|seen| seen.committed).count()
    }

    /// How many requests were answered with a status.
    pub fn answered(&self, status: u16) -> usize {
        let wanted = Answered::Status(status);
        self.requests.iter().filter(|seen| seen.answered == wanted).count()
    }
}

/// The log, and who waits for changes of it.
pub(super) struct Memory {
    log: Mutex<Log>,
    changes: watch::Sender<()>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            log: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    pub(super) fn look<T>(&self, at: impl FnOnce(&Log) -> T) -> T {
        at(&self.log.lock().unwrap())
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn change<T>(&self, by: impl FnOnce(&mut Log) -> T) -> T {
        let result = by(&mut self.log.lock().unwrap());
        self.changes.send_replace(());
        result
    }

    /// A connection begins; answers its number.
    pub(super) fn connected(&self) -> usize {
        self.change(|log| {
            log.accepted += 1;
            log.connections += 1;
            log.most_connections = log.most_connections.max(log.connections);
            log.accepted
        })
    }

    pub(super) fn disconnected(&self) {
        self.change(|log| log.connections -= 1);
    }

    pub(super) fn handshake_broken(&self) {
        self.change(|log| log.broken_handshakes += 1);
    }

    /// A head has arrived: answers its number, how many had the same key, and where batches of the same session and
    /// sink come from that are still being worked on.
    pub(super) fn begun(&self, request: &Request, peer: SocketAddr) -> (usize, usize, Vec<(usize, SocketAddr)>) {
        self.change(|log| {
            let number = log.heads;
            log.heads += 1;
            let tries = log.tries.entry(request.key().to_owned()).or_default();
            let earlier = *tries;
            *tries += 1;
            let session = request.header("promptd-session").to_owned();
            let same =
                |running: &Running| !session.is_empty() && running.path == request.path && running.session == session;
            let others = log.running.iter().filter(|(_, running)| same(running));
            let others = others.map(|(number, running)| (*number, running.peer)).collect();
            let path = request.path.clone();
            log.running.insert(number, Running { path, session, peer });
            log.most_running = log.most_running.max(log.running.len());
            (number, earlier, others)
        })
    }

    pub(super) fn is_running(&self, number: usize) -> bool {
        self.look(|log| log.running.contains_key(&number))
    }

    pub(super) fn overlapped(&self, what: String) {
        self.change(|log| log.overlaps.push(what));
    }

    /// It has been read to its end; answers where it stands.
    pub(super) fn read(&self, seen: Seen) -> usize {
        self.change(|log| {
            log.requests.push(Arc::new(seen));
            log.requests.len() - 1
        })
    }

    /// It has been taken over.
    pub(super) fn committed(&self, at: usize) {
        self.change(|log| {
            let seen = Arc::make_mut(&mut log.requests[at]);
            seen.committed = true;
            let session = seen.request.header("promptd-session").to_owned();
            let bounds = super::judge::bounds(&seen.request);
            if let Some((_, last)) = bounds {
                let known = log.last.entry((seen.request.path.clone(), session)).or_default();
                *known = last.max(*known);
            }
        });
    }

    pub(super) fn answered(&self, at: usize, how: Answered) {
        self.change(|log| Arc::make_mut(&mut log.requests[at]).answered = how);
    }

    /// Nobody works on it any more.
    pub(super) fn over(&self, number: usize) {
        self.change(|log| log.running.remove(&number));
    }
}
