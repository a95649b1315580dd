//! Tool calls as ACP updates.
//!
//! Owns a call's life ([`calls`]), its fields ([`tool`]): kind, title, places and diffs ([`edit`]), read from the inputs of all
//! agents' tools.
//!
//! Promises that a tool of an unknown name or with an unknown input is shown, too.
//!
//! May not know a particular format.

pub(crate) mod calls;
pub(crate) mod edit;
mod input;
mod kind;
mod title;
pub(crate) mod tool;
