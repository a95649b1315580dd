//! `view=updates`: the journal as ACP updates, the same for every agent.
//!
//! Owns the way from the journal's lines, with secrets already masked, to the lines of this view. The output of an agent is
//! assembled to lines and given to the agent's translator. Prompts become updates, too. Every other record stays as it is.
//!
//! ```text
//! {"seq":17,"time":"…","turn":1,"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"…"}}}
//! ```
//!
//! The lines of a record have its `seq`. If there are several, each has an `index`, and the record itself, if it stays, is
//! the last one. A record that only continues a line of output gives no line. A prompt of more than 64 KiB gives several.
//!
//! Promises that nothing is lost: a line that no translator knows, all of standard error, the output of a setup, and output
//! after the end of its turn are `_raw` updates. And that the start of reading makes no difference: the records between
//! [`replay_start`] and the cursor are read for their state, and give no lines.
//!
//! Pure: no clock, no I/O. May use `output` for updates and translators, `formats` for the format that an attempt
//! names, and `promptd-model` for records.

mod attempt;
mod line;
mod long_prompt;
mod past;
mod translation;

pub use line::{Line, replay_start};
pub use translation::Translation;

#[cfg(test)]
mod tests;
