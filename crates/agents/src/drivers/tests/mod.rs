//! Tests of the drivers.

mod acp;
mod claude_control;
mod recorded;
