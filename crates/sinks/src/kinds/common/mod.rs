//! What several kinds share.
//!
//! Owns the checks of settings, the conversion of output records to text, and the words for the end of a turn. May not
//! know a particular kind.

mod body;
mod fields;
mod secrets;
mod text;
mod turn_status;

pub(super) use body::{gzip, json};
pub(super) use fields::Fields;
pub use fields::SinkError;
pub(super) use text::{StreamTexts, affects_text, ready, text_of};
pub(super) use turn_status::{TurnStatus, failed_before, key, text_name, wire_name};
