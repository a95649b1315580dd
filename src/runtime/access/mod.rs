//! Who may use the API, and what agents get in their environment.

pub(crate) mod configure;
pub(crate) mod envd;
pub(crate) mod environment;
pub(crate) mod tokens;
pub(crate) mod watched;
