//! Tests of the drivers.

mod acp;
mod app_server;
mod claude_control;
mod claude_grants;
mod recorded;
