//! The machine below: which sandbox it is, and whether it was paused.

pub(crate) mod epoch;
mod gap;
pub(crate) mod identity;
pub(crate) mod resume;
