//! Sinks: the journal pushed to backends, at least once, in order.
//!
//! Owns a cursor per sink and session (`sinks/<name>.json`), and one worker loop for all kinds of sinks. The journal is
//! the buffer: between two attempts a sink only holds its cursor, so a backend that is down for a day costs no more than
//! one that is down for a second.
//!
//! Promises: a cursor only moves past what the backend accepted (2xx). The bounds of a batch are on disk before the first attempt, and a
//! retry has the same bytes and the same `Idempotency-Key`, also after a restart. One batch per session and sink is in
//! flight. Nothing is dropped: if a backend refuses (4xx), its sink pauses, shows the error, and tries again every
//! minute, or when the configuration changes. A sink never slows down an agent, another sink, or another backend.
//!
//! ```text
//! delivery (worker: wait, cut a batch, try it, move on) ─► kinds (records to HTTP messages; pure)
//!    ├─► batch (cursor on disk, journal lines, translator cache)
//!    └─► http (one request, connection limits, TLS clients, retry delays)
//! ```
//!
//! May use `agents` (for `view=updates`), `journal`, `mask`, `sys` and `model`. It knows the runtime only as [`Source`].
#![forbid(unsafe_code)]

mod batch;
mod delivery;
mod http;
mod kinds;
mod sink;
mod source;

pub use delivery::{Counters, Counts, Delivery, SinkState, SinkStatus, SinkWorkers};
pub use kinds::SinkError;
pub use sink::{Scope, Sink};
pub use source::{SessionInfo, Source};
