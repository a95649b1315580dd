//! What every request and answer has in common.
//!
//! Owns authentication, headers, bodies in, query parameters, paths of sessions, ranges, rate limits and the
//! mapping of errors to answers (`problem`, the one place). Promises that every mistake is answered with what
//! would be right, and that no secret is in an answer. May not know what a route does.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod errors;
pub(crate) mod json;
pub(crate) mod keepalive;
pub(crate) mod line_breaks;
pub(crate) mod middleware;
pub(crate) mod negotiate;
pub(crate) mod path;
pub(crate) mod peer;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod range;
pub(crate) mod rate;
