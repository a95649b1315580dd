//! `/v1/acp`: the Agent Client Protocol, agent side, over WebSocket (<https://agentclientprotocol.com>): any installed
//! agent behind it, whether or not it speaks ACP itself.
//!
//! Owns the connection: frames in and out (`message`, pure), methods (`methods`; those that open and end sessions:
//! `sessions`), updates of each session that the client has opened (`open`, `follow`), permission requests to the client
//! (`permissions`, `pending`; as forms: `forms`, pure), messages into a turn (`steering`), requests that can be cancelled (`running`), and the conversion between ACP's types and ours (`requests`, `outcome`, both pure). Promises that all
//! updates of a turn reach the client before the answer to its `session/prompt`, that an invalid frame costs one answer
//! and not the connection, and that a client that leaves ends nothing: the turn goes on, its permission requests stay
//! open for others, and `session/load` replays the rest. May not keep anything beyond the connection: a session is its
//! journal.

mod connection;
mod follow;
mod forms;
mod message;
mod methods;
mod open;
mod outcome;
mod pending;
mod permissions;
mod requests;
pub(crate) mod route;
mod running;
mod sessions;
mod steering;
