//! The machine below: which sandbox it is, whether it was paused or cloned, and the name of its present life.
//!
//! Owns `epoch.json` in the home. Promises that no answer carries an epoch from before a resume, and that on other
//! machines than E2B's nobody is asked. May not know sessions, but for the task that tells them of a resume.

mod clock_gap;
pub(crate) mod epoch;
pub(crate) mod identity;
pub(crate) mod machine;
pub(crate) mod reaper;
pub(crate) mod resume;
pub(crate) mod sandbox_sources;
