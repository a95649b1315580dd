//! The client side of every subcommand: requests to a server, over its control socket or a URL, and its answers.
//!
//! Promises that a broken connection loses and repeats nothing, and that a home without a server gets one in this process.

mod events;
mod host;
mod http_client;
mod request;
mod responses;

pub(crate) use self::events::{Events, head_of};
pub(crate) use self::host::{is_serving, socket_path, take_home};
pub(crate) use self::http_client::Client;
pub(crate) use self::request::{Request, escape, session_path};
pub(crate) use self::responses::{Session, SessionPage, Sink, Stopped, TurnEnd};
