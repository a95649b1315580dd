//! One turn: queued, started, supervised, read to its end, stopped.

pub(crate) mod driver;
pub(crate) mod keeper_client;
pub(crate) mod queue;
pub(crate) mod run;
pub(crate) mod stop;
pub(crate) mod supervisor;
