//! Who may use the API, and which variables agents get beyond the server's own.
//!
//! Owns `token` and `environment.json` in the home. Promises that a token file that cannot be used locks the API
//! instead of opening it, and that a variable's value is shown to nobody. May not know sessions or HTTP.

pub(crate) mod configure;
pub(crate) mod envd;
pub(crate) mod token;
pub(crate) mod token_store;
pub(crate) mod variables;
