//! The journal's records, as `contract.md` words them: one JSON line each.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::{Cause, Status, StopReason, Usage};

/// One of the agent's two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both, in the order in which everything that treats them alike does so.
    pub const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A record: something that happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the session's journal; begins with 1 and has no holes.
    pub seq: u64,
    /// When it was written, by the wall clock.
    pub time: Timestamp,
    /// The turn it belongs to; 0 where it belongs to the session.
    pub turn: u32,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// A turn was accepted.
    Prompt(Prompt),
    /// A step of the session's setup begins. What is written from here to the next `setup` or `started` is its
    /// output, and none of the agent's.
    Setup(Setup),
    /// The agent's process runs.
    Started(Started),
    /// The agent's processes were stopped by us until there is room on the disk.
    Frozen {
        /// Why.
        reason: String,
    },
    /// They go on.
    Thawed {
        /// Why.
        reason: String,
    },
    /// Bytes the agent wrote to its standard output.
    Stdout(Output),
    /// Bytes the agent wrote to its standard error.
    Stderr(Output),
    /// Bytes that were written to the agent's standard input.
    Stdin(Output),
    /// The agent's process has gone.
    Exited(Exited),
    /// The turn is over.
    TurnEnded(TurnEnded),
    /// The turn failed and will be tried again.
    Retry {
        /// The attempt that comes, beginning with 2.
        attempt: u32,
        /// Seconds until then.
        delay: f64,
        /// Why the attempt before failed.
        cause: Cause,
    },
    /// The agent asks whether it may do something, and waits.
    Permission(Permission),
    /// The answer it gets.
    PermissionAnswer(PermissionAnswer),
    /// Something runs short.
    Alert {
        /// What.
        resource: String,
        /// How much there is of it.
        value: f64,
        /// The value at which we say so.
        threshold: f64,
    },
    /// The sandbox was paused or cloned.
    Resumed {
        /// The new epoch.
        epoch: String,
        /// The one before, where anybody had needed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<String>,
        /// Seconds away, by the wall clock.
        away: f64,
        /// The platform's id of the sandbox that it is now, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sandbox: Option<String>,
    },
    /// The server came back.
    Recovered {
        /// The epoch.
        epoch: String,
        /// The turn's keeper had died, too.
        lost_keeper: bool,
    },
    /// Something is missing, and this says what.
    Gap(Gap),
}

/// The prompt of a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The prompt, whole.
    pub text: String,
    /// The caller's `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// The agent's process, well enough described to be found again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Process id, as our own pid namespace sees it.
    pub pid: i32,
    /// The program's path.
    pub program: String,
    /// 1, or more after retries.
    pub attempt: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks from boot to the process's start.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`, without which pid and ticks mean nothing.
    pub boot_id: String,
    /// A moment just before the agent could do anything, by the clock that file systems take their times from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
    /// The commit that was checked out then, where the agent works in a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A step of what is done before the agent starts. The process is the one that becomes the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Which step, beginning with 1.
    pub step: u32,
    /// How many there are.
    pub of: u32,
    /// What it does: the command, or what is cloned.
    pub command: String,
    /// As in [`Started`].
    pub attempt: u32,
    /// As in [`Started`].
    pub pid: i32,
    /// As in [`Started`].
    pub start_ticks: u64,
    /// As in [`Started`].
    pub boot_id: String,
}

impl Setup {
    /// The process, as it has to be known to be found again.
    pub fn process(&self) -> Started {
        Started {
            pid: self.pid,
            program: String::new(),
            attempt: self.attempt,
            start_ticks: self.start_ticks,
            boot_id: self.boot_id.clone(),
            begun: None,
            commit: None,
        }
    }
}

/// A chunk of a stream: text, or base64 where it is not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The offset in the turn's stream after this chunk, in bytes.
    pub to: u64,
    /// The turn had ended when this was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The chunk ends a line; the newline is not repeated in `data`.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub eol: bool,
    /// The bytes as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

fn yes() -> bool {
    true
}

/// A question of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Permission {
    /// The question's id, unique in its session.
    pub id: String,
    /// What the agent wants to do, in a few words.
    pub title: String,
    /// What can be answered.
    pub options: Vec<PermissionOption>,
    /// The call that waits, as ACP's `ToolCallUpdate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub tool_call: Option<Value>,
    /// When the default answer is given in place of a caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
}

/// One possible answer, as in ACP (<https://agentclientprotocol.com/protocol/tool-calls#permission-options>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PermissionOption {
    /// What to answer with.
    #[serde(rename = "optionId")]
    pub option_id: String,
    /// For people.
    pub name: String,
    /// What it means.
    pub kind: PermissionKind,
}

/// What an answer means, in ACP's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionKind {
    /// This time.
    AllowOnce,
    /// From now on.
    AllowAlways,
    /// Not this time.
    RejectOnce,
    /// Never.
    RejectAlways,
}

/// An answer to a question of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionAnswer {
    /// The question.
    pub id: String,
    /// The chosen option; `cancelled` where there was no choice any more.
    pub option: String,
    /// `caller`, `default` (nobody answered in time), `interrupt`, or `agent` (it has taken the question back).
    pub by: String,
}

/// How the agent's process ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exited {
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The name of the signal that killed it, such as `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why the keeper ended it, or why code and signal are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It had said its final result and did not leave, so it was ended: code and signal say nothing about the turn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lingered: bool,
    /// Seconds it ran, by a clock that does not count while the machine is paused.
    pub duration: f64,
    /// What it used.
    pub resources: Resources,
    /// Processes of its tree that live on.
    pub leftover_processes: u32,
}

/// What a process and its waited-for children used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Resources {
    /// User and system time in seconds.
    pub cpu_seconds: f64,
    /// The largest resident set, in bytes.
    pub max_rss_bytes: u64,
}

/// The end of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnEnded {
    /// How.
    pub status: Status,
    /// Why, when not completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why the agent stopped speaking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// The agent's final answer, at most [`super::MAX_RESULT`] bytes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The agent's own id for its session, with which the next turn resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<String>,
}

/// Bytes that are missing from a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The stream's name.
    pub stream: String,
    /// How many bytes are known to be missing.
    pub bytes: u64,
    /// Why.
    pub reason: String,
    /// The offset in the turn's stream after the gap; the stream's file begins here again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}
