//! `promptd`: the runtime that sits inside a sandbox and runs coding agents for a backend.
//!
//! Kill any process, stall any reader, pause the machine: not one byte is lost. Where something must be missing, a record
//! says so. `ARCHITECTURE.md` is the map. It also says which test holds which of these invariants:
//!
//! 1. Nobody but the kernel is between an agent and its output files.
//! 2. Bytes reach anyone only through the journal.
//! 3. A reader never slows a writer or another reader.
//! 4. Each session's folder is its own fault domain.
//! 5. A sink's cursor moves only past what the backend accepted, and a batch has the same bytes at every try.
//! 6. `model`, `mask` and `agents` have no clock and no I/O.
//! 7. `unsafe` is only in `sys` (and in one program that only tests run).
//! 8. No secret is in logs, arguments, error texts or API answers.
//! 9. Before its first use the server makes no id, calls nobody and has no timer.
//! 10. After 201 or 202 the turn is on disk.

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod runtime;
