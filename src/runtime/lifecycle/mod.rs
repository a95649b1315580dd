//! How sessions come and go: loaded, created, given prompts, deleted, and kept within the limits of the disk.
//!
//! Promises that an accepted turn is in its journal before the caller gets the answer, that the same request again gives
//! the same session or turn, and that a session is kept until every sink has it, as long as there is room.

pub(crate) mod admission;
pub(crate) mod create;
pub(crate) mod load;
pub(crate) mod own_folder;
pub(crate) mod prompt;
pub(crate) mod removal;
pub(crate) mod retention;
pub(crate) mod undelivered;
