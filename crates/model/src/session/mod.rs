//! The state of a session, and how its turns end.
//!
//! Owns the fold over records, the rules for answers to permission questions, and the decision how a turn ended.
//! Promises that the same records always give the same state. May not store anything.

mod conversation;
mod outcome;
mod permission;
mod reset;
mod state;
mod status;

pub use outcome::{ExitEvidence, FinalEvent, Observation, decide_outcome};
pub use permission::{BY_AGENT, CANCELLED, GivenAnswer};
pub use reset::{ClockTime, Reset};
pub use state::{SessionState, StreamOffset, TurnPhase, TurnState};
pub use status::SessionStatus;
