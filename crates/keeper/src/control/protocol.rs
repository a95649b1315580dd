//! The requests and responses of the control socket.

use serde::{Deserialize, Serialize};

use promptd_model::{Cause, lenient_cause};

/// The error of an input request if standard input is not open.
pub const STDIN_NOT_OPEN: &str = "stdin is not open";

/// A request of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Asks for an answer, whatever it is: the keeper lives, and does its work.
    Ping,
    /// Asks for the keeper's pid and the number of processes.
    Status,
    /// Ends the process tree; answered when it has ended.
    Stop {
        /// Seconds until SIGKILL.
        grace: f64,
        /// Why; `None` if the agent did not exit after its final result.
        #[serde(default, deserialize_with = "lenient_cause")]
        cause: Option<Cause>,
    },
    /// Writes to the agent's standard input; answered when the FIFO has accepted it and it is in the journal.
    Input {
        /// The number of bytes that follow the request.
        length: u64,
        /// Closes standard input after them.
        close: bool,
        /// Writes only if exactly this many bytes were written before, and no other request is writing. So a restarted
        /// server cannot send something twice that the killed one had already sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    },
}

/// The keeper's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The keeper's pid.
    pub keeper: i32,
    /// The number of living processes of the tree.
    pub processes: u32,
    /// After `stop`: the number of processes that could not be ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivors: Option<u32>,
    /// Why the request was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
