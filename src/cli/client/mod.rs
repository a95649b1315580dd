//! The client side of every subcommand: requests to a server, wherever that is, and its answers.

mod events;
mod host;
mod http_client;
mod request;
mod responses;

pub(crate) use self::events::{Events, head_of};
pub(crate) use self::host::{answers, place, take_home};
pub(crate) use self::http_client::Client;
pub(crate) use self::request::{Request, escape, session_path};
pub(crate) use self::responses::{Session, SessionPage, Sink, Stopped, TurnEnd};
