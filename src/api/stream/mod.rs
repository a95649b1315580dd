//! The journal, sent to readers: SSE, NDJSON, pages, raw output and WebSocket over one cursor.
//!
//! Bytes flow one way: `feed` (the loop: read, wait, end) → `scan` (pieces to records) → `framer`, `page`, `output` or
//! `ws` (records to what the caller asked for). Promises that a reader who stalls costs a socket and a block. May not
//! buffer more than that, and may not write.

pub(crate) mod body;
pub(crate) mod bounded;
pub(crate) mod events;
pub(crate) mod feed;
pub(crate) mod fragments;
pub(crate) mod framer;
pub(crate) mod lines;
pub(crate) mod output;
pub(crate) mod output_range;
pub(crate) mod page;
pub(crate) mod scan;
pub(crate) mod websocket;
pub(crate) mod ws;
