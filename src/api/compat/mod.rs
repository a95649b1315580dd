//! Protocols of other systems, over the same sessions: ACP, the SDK pattern, `/execute`, the plain WebSocket at `/`.
//!
//! Promises that what such a client does is the same as with `/v1`: same sessions, same journal, same refusals. May not
//! keep state of sessions.

pub(crate) mod acp;
pub(crate) mod bare;
pub(crate) mod execute;
mod execute_fields;
pub(crate) mod sdk;
