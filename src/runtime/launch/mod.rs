//! From a request to a program with arguments and files.

pub(crate) mod links;
pub(crate) mod mounted;
pub(crate) mod prepare;
pub(crate) mod probe;
pub(crate) mod program;
pub(crate) mod scratch;
pub(crate) mod setup;
pub(crate) mod validate;
