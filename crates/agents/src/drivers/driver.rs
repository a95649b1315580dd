//! A dialog's driver, its effects, and its questions.

use crate::output::observer::Observer;
use promptd_model::{AnswerDetails, AskedQuestion, ContentBlock, PermissionKind, PermissionOption};

/// The answer to a question in an interrupted turn; it is not one of the options.
pub(crate) const CANCELLED: &str = "cancelled";

/// How far a dialog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The agent does not have the prompt yet.
    Opening,
    /// It works.
    Prompted,
    /// The dialog has ended.
    Over,
}

/// Something for the runtime to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write this to the agent's standard input: whole lines, with their newlines.
    Write(Vec<u8>),
    /// Ask the callers. The answer comes with [`Driver::answer`].
    Ask(Question),
    /// The agent no longer needs an answer to this question.
    Withdraw(String),
    /// The agent has taken the message with this number, or has refused it: the turn ends without it.
    Steered {
        /// The number that [`Driver::steer`] was given.
        number: u64,
        /// The agent has taken it.
        taken: bool,
    },
    /// Close the agent's standard input. The agent then exits.
    Close,
}

/// A question of the agent for its callers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Question {
    /// Unique in this attempt, and the same at every replay.
    pub id: String,
    /// What the agent wants to do.
    pub title: String,
    /// The possible answers; their ids are unique in the question.
    pub options: Vec<PermissionOption>,
    /// The call that waits, as ACP's `ToolCallUpdate`.
    pub tool_call: Option<serde_json::Value>,
    /// Questions that an allowing answer has to answer.
    pub questions: Vec<AskedQuestion>,
    /// An allowing answer can change the input of the call.
    pub takes_input: bool,
    /// A rejecting answer can have a reason.
    pub takes_reason: bool,
}

impl Question {
    /// One possible answer.
    pub(crate) fn option(id: &str, name: &str, kind: PermissionKind) -> PermissionOption {
        PermissionOption {
            option_id: id.to_owned(),
            name: name.to_owned(),
            kind,
            scope: None,
            grant: None,
        }
    }
}

/// The dialog of one attempt. [`Observer::observe_line`] takes what the agent writes.
pub trait Driver: Observer {
    /// Takes the effects that have become due since the last call. The first ones open the dialog. A replay returns all of
    /// them again, in the same order: the caller knows which of them are in the journal.
    fn take_effects(&mut self) -> Vec<Effect>;

    /// Takes the answer of a caller or of the time limit. It has no effect if the question is not open or does not have
    /// this option. `cancelled` interrupts the turn, as [`Driver::interrupt`] does.
    fn answer(&mut self, id: &str, option: &str, details: &AnswerDetails);

    /// Passes a message of a caller on while the agent works. `number` is unique in the session. Answers whether the agent
    /// says if it takes it: then [`Effect::Steered`] follows.
    fn steer(&mut self, _number: u64, _text: &str, _blocks: &[ContentBlock]) -> bool {
        false
    }

    /// Ends the turn in the agent's own way. Open questions are answered as the protocol requires.
    fn interrupt(&mut self);

    /// Takes a line that the journal has as written to the agent, without its newline; answers whether it is an interrupt.
    /// After a restart, this is the only sign of one. The effects of the interrupt are then due again, like everything else in
    /// a replay. A server of another version may have written lines that this one would not write, or fewer of them.
    fn observe_written(&mut self, line: &[u8]) -> bool;

    /// The request that the agent has to answer before it gets the prompt. `None` if it has the prompt, or needs no
    /// such request.
    fn awaited_method(&self) -> Option<&'static str> {
        None
    }

    /// Ends the turn as failed: the agent does not answer. It has no effect if the agent has the prompt.
    fn give_up(&mut self, _error: &str) {}
}
