//! Agents with a dialog: permission questions, restarts, cancellation.

mod answers;
mod cancellation;
mod openings;
mod restarts;
