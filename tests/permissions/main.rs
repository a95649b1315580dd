//! Agents that are talked with: permission questions, restarts, cancellation.

mod answers;
mod cancellation;
mod restarts;
