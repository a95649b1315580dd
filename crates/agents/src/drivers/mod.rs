//! Talking with an agent while it works: the protocols that agents speak on their standard streams, as state machines.
//!
//! A driver owns what is said in one attempt of one turn. It is fed what stands in the journal, in order (the agent's
//! lines, the callers' answers, and what was written to the agent), and says what is due. It promises to be pure: fed
//! the same records, it says the same, so that a server that comes back finds by replay what a former one had not sent
//! yet. It may not do I/O, look at a clock, or use randomness.

mod acp;
mod app_server;
mod claude_control;
mod questions;

pub(super) use acp::driver as acp;
pub(super) use app_server::driver as app_server;
pub(super) use claude_control::driver as claude_control;
use questions::Questions;

use super::{Format, Observer, TurnRequest};
use promptd_model::{PermissionKind, PermissionOption};

/// The answer that is no option: the turn was interrupted instead.
const CANCELLED: &str = "cancelled";

/// How far a conversation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The agent does not know the prompt yet.
    Opening,
    /// It works.
    Prompted,
    /// All is said.
    Over,
}

/// Something that is due.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write this to the agent's standard input; whole lines, with their newlines.
    Write(Vec<u8>),
    /// Ask the callers. The answer comes by [`Driver::answer`].
    Ask(Question),
    /// The agent has taken this question back: nobody need answer it any more.
    Withdraw(String),
    /// Close the agent's standard input: all is said, and the agent is to leave.
    Close,
}

/// A question of the agent for its callers.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Unique in this attempt, and the same at every replay.
    pub id: String,
    /// What the agent wants to do.
    pub title: String,
    /// What can be answered; option ids are unique in it.
    pub options: Vec<PermissionOption>,
    /// The call that waits, as ACP's `ToolCallUpdate`.
    pub tool_call: Option<serde_json::Value>,
}

impl Question {
    fn option(id: &str, name: &str, kind: PermissionKind) -> PermissionOption {
        PermissionOption {
            option_id: id.to_owned(),
            name: name.to_owned(),
            kind,
        }
    }
}

/// The conversation of one attempt. [`Observer::line`] takes what the agent writes.
pub trait Driver: Observer {
    /// What has become due since the last call; at first, what opens the conversation. Whether it stands in the journal
    /// already is for the caller to see: a replay says it all again, in the same order.
    fn effects(&mut self) -> Vec<Effect>;

    /// A caller, or the time limit, has answered a question. One that is not open any more is passed over, and so is an
    /// option that it does not have; `cancelled` says that the turn was interrupted, as [`Driver::interrupt`] does.
    fn answer(&mut self, id: &str, option: &str);

    /// The turn is to end, in the agent's own way. Open questions are answered as the protocol wants it for this case.
    fn interrupt(&mut self);

    /// A line stands in the journal as written to the agent, without its newline. Needed for what is not a
    /// consequence of the agent's own lines: after a restart, an interrupt is known by this alone. What the interrupt
    /// wants written is then due as if it had not been written, like all else in a replay.
    fn wrote(&mut self, line: &[u8]);
}

/// What talks with an agent that is configured by the stream it writes.
pub(super) fn of_stream(stream: &Format, request: &TurnRequest<'_>) -> Option<Box<dyn Driver>> {
    stream.is_conversation().then(|| acp(request))
}

#[cfg(test)]
mod tests;
