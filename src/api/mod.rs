//! The API: HTTP, SSE, NDJSON and WebSocket over one cursor in the journal.
//!
//! Owns routes, bodies, headers, authentication and the mapping of errors to answers. Promises that a reader who
//! stalls costs one socket and one block, that an operation runs to completion also when the caller hangs up, and that
//! every refusal says what would be right. May not keep state of sessions, nor touch files other than its own sockets.
//!
//! `connection` accepts connections; `http` is what all requests share; `sessions`, `stream`, `admin` and `compat` hold the routes by subject;
//! `operations` is what all protocols can do with a session.

mod admin;
mod compat;
mod connection;
mod http;
mod openapi;
mod operations;
mod router;
mod server;
mod sessions;
mod state;
mod stream;

pub use openapi::document as openapi_document;
pub use server::{CONTROL_SOCKET, Listeners, ServeError, Server};
