//! The journal pushed to backends: at least once, in order, through anything.
//!
//! Owns a cursor per sink and session (`sinks/<name>.json`), and one loop for all kinds. The journal is the buffer:
//! between two attempts a sink holds its cursor and nothing else, so that a backend that is down for a day costs
//! what one that is down for a second costs.
//!
//! Promises: a cursor moves only when the backend has answered 2xx. The bounds of a batch are on the disk before it
//! is tried for the first time, and a retry is byte for byte the same under the same `Idempotency-Key`, also after a
//! restart. One batch is under way per session and sink. Nothing is given up: a backend that refuses (4xx) pauses
//! its sink, which says so and tries again every minute or when the configuration changes. A sink never slows an
//! agent, another sink or another backend.
//!
//! ```text
//! deliver (the loop: wait, cut, try, move on) → kinds (records to messages; pure) → attempt (one HTTP request)
//!    ├ cursor (what is on the disk)   ├ lines (the journal, masked) → warm (in the words of `view=updates`)
//!    └ gate (who gets a connection)   └ client (TLS, proxies, names)
//! ```
//!
//! May use `updates`, `journal`, `mask`, `sys` and `model`; of the runtime it knows only what [`Source`] tells.
#![forbid(unsafe_code)]

mod attempt;
mod client;
mod counters;
mod cursor;
mod deliver;
mod gate;
mod kinds;
mod lane;
mod lines;
mod prepare;
mod retry;
mod sink;
mod warm;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

pub use counters::{Counted, Counters};
pub use kinds::{About, SinkError};
pub use lane::{Lanes, SinkState, SinkStatus};
pub use sink::{Scope, Sink};

use client::Clients;
use gate::Gate;
use lane::Lane;
use promptd_agents::updates::Translation;
use promptd_mask::Masker;
use promptd_model::SessionState;

/// A session, as delivery sees it.
pub trait Source: std::fmt::Debug + Send + Sync {
    /// What messages say of it.
    fn about(&self) -> About;

    /// Its folder.
    fn folder(&self) -> &Path;

    /// Its state as last seen, and a word whenever that changes.
    fn changes(&self) -> watch::Receiver<Arc<SessionState>>;

    /// Nothing will be written before somebody asks for something.
    fn at_rest(&self) -> bool;

    /// What may not be seen of its records.
    fn masker(&self) -> Option<Arc<Masker>>;

    /// What puts its journal, from the first record on, into the words of `view=updates`.
    fn translation(&self) -> Translation;

    /// The epoch.
    fn epoch(&self) -> String;
}

/// What all sinks of a server share.
#[derive(Debug)]
pub struct Delivery {
    gate: Gate,
    clients: Clients,
    counters: Counters,
    /// Whoever waits before another attempt stops waiting.
    now: watch::Sender<()>,
    /// Whoever waits for an answer stops waiting: its connection is dead.
    cut: watch::Sender<()>,
    shutdown: watch::Sender<bool>,
    /// Those that are under way.
    under_way: Mutex<Vec<UnderWay>>,
}

/// A loop that runs, and for whom.
type UnderWay = (Weak<dyn Source>, Weak<Lane>);

impl Default for Delivery {
    fn default() -> Self {
        Self {
            gate: Gate::new(),
            clients: Clients::default(),
            counters: Counters::default(),
            now: watch::Sender::new(()),
            cut: watch::Sender::new(()),
            shutdown: watch::Sender::new(false),
            under_way: Mutex::default(),
        }
    }
}

impl Delivery {
    /// Has every sink that waits try at once: the configuration has changed.
    pub fn try_now(&self) {
        self.now.send_replace(());
    }

    /// The machine was away: connections are dead, names and certificates may be others, and nobody need wait.
    pub fn resumed(&self) {
        self.clients.renew();
        self.cut.send_replace(());
        self.try_now();
    }

    /// What was delivered, and what was not.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// No longer waits for more records to fill a batch, and ends when what was there has been delivered, or refused.
    pub async fn flush(&self) {
        self.shutdown.send_replace(true);
        let under_way = std::mem::take(&mut *self.under_way.lock().unwrap_or_else(PoisonError::into_inner));
        for (source, lane) in under_way {
            if let (Some(source), Some(lane)) = (source.upgrade(), lane.upgrade()) {
                let last = source.changes().borrow().last_seq;
                lane.delivered(last, &[SinkState::Paused]).await;
            }
        }
    }

    fn is_under_way(&self, source: &Arc<dyn Source>, lane: &Arc<Lane>) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // Only where the list would grow otherwise: thousands may begin together.
        if under_way.len() == under_way.capacity() {
            under_way.retain(|(_, lane)| lane.upgrade().is_some_and(|lane| lane.is_running()));
        }
        under_way.push((Arc::downgrade(source), Arc::downgrade(lane)));
    }
}
