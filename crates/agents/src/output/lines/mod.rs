//! How a line of an agent is read.
//!
//! Owns the search for JSON objects in a line and their repair ([`json_line`], [`clean`]), the reading of events whose parts
//! have unexpected shapes ([`lenient`]), whole numbers that would be rounded ([`long_number`]), and JSON-RPC ([`json_rpc`]).
//!
//! Promises that one odd part does not cost the rest of a line.
//!
//! May not know what an event means.

pub(crate) mod clean;
pub(crate) mod json_line;
pub(crate) mod json_rpc;
pub(crate) mod lenient;
pub(crate) mod long_number;
