//! `/v1/sessions` and what belongs to one session: turns, permissions, artifacts.
//!
//! Owns the resources as callers see them (`view`). Promises that work that a caller began is finished also when the
//! caller hangs up. May not keep state: the runtime has it.

pub(crate) mod accepted;
pub(crate) mod artifacts;

pub(crate) mod permissions;
pub(crate) mod resource;
pub(crate) mod turns;
pub(crate) mod view;
