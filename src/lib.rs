//! `promptd`: the runtime that sits inside a sandbox and runs coding agents for a backend.
//!
//! Kill anything, stall anyone, pause the machine: not one byte is lost, and every gap says so.
//! `ARCHITECTURE.md` is the map. The invariants (which test holds which is told there):
//!
//! 1. Nobody but the kernel stands between an agent and its output files; no process of ours can block or
//!    kill it by being slow or dead.
//! 2. Bytes reach anyone only through the journal.
//! 3. A reader never slows a writer, nor another reader.
//! 4. Every session's folder is its own fault domain: a damaged one is reported and costs no other.
//! 5. A sink's cursor moves only on 2xx, and the bytes of a batch never change between tries.
//! 6. `model`, `mask` and `agents` have no clock and no I/O.
//! 7. `unsafe` stands only in `sys`.
//! 8. No secret in logs, argv, error texts or API answers.
//! 9. While unconfigured in a sandbox: no outbound call, no id, no timer with a side effect.
//! 10. After 201 or 202 has been answered, the turn is on disk.

#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod runtime;
