//! What is answered to requests that cannot be served.

mod conflicts;
mod validation;
