//! The records of the journal. Each record is one JSON line; the field names are the wire format.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::content::{ContentBlock, PromptContent};
use super::lenient::{cause, known, known_or_default};
use super::permission::{Permission, PermissionAnswer};
use super::status::{Cause, Status, StopReason, Usage};
use crate::request::TurnOptions;

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
    /// Both streams, in a fixed order.
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
    /// Its number in the session's journal: starts at 1, has no gaps.
    pub seq: u64,
    /// Wall-clock time of writing.
    pub time: Timestamp,
    /// The turn it belongs to; 0 for a record of the session itself.
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
    /// A message for the turn that runs was accepted.
    Steer(Prompt),
    /// A step of the session's setup starts. Output up to the next `setup` or `started` record belongs to this step,
    /// not to the agent.
    Setup(Setup),
    /// The agent's process was started.
    Started(Started),
    /// The keeper stopped the agent's processes until there is enough free disk space.
    Frozen {
        /// Why.
        reason: String,
    },
    /// The agent's processes were continued.
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
    /// The agent's process has exited.
    Exited(Exited),
    /// The turn is over.
    TurnEnded(TurnEnded),
    /// The attempt failed, and the turn will be retried.
    Retry {
        /// The number of the next attempt; the first retry is 2.
        attempt: u32,
        /// Seconds until the next attempt.
        delay: f64,
        /// Why the last attempt failed.
        #[serde(deserialize_with = "known_or_default")]
        cause: Cause,
        /// From now on the agent gets another standard output, because it refused the one that it had. This attempt is none
        /// of those that the request allows.
        #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
        stdout: Option<Stdout>,
    },
    /// The agent asks for permission, and waits.
    Permission(Permission),
    /// The answer to a permission question.
    PermissionAnswer(PermissionAnswer),
    /// A resource is running low.
    Alert {
        /// The resource.
        resource: String,
        /// The current value.
        value: f64,
        /// The threshold that was crossed.
        threshold: f64,
    },
    /// The sandbox was paused or cloned.
    Resumed {
        /// The new epoch.
        epoch: String,
        /// The previous epoch, if one had been created.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<String>,
        /// Duration of the pause in seconds, by the wall clock.
        away: f64,
        /// The platform's id of the current sandbox, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sandbox: Option<String>,
    },
    /// The server was restarted.
    Recovered {
        /// The epoch.
        epoch: String,
        /// The turn's keeper had died as well.
        lost_keeper: bool,
    },
    /// The agent begins a new conversation, although nobody asked for one: it had stored nothing of these turns when they
    /// ended.
    Forgotten {
        /// The turns of which it knows nothing.
        turns: Vec<u32>,
    },
    /// Some output is missing.
    Gap(Gap),
    /// A type that a newer promptd has added. It changes nothing here.
    #[serde(other)]
    Unknown,
}

/// The prompt of a turn, or a message for one that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The full text of the prompt. Of images and files it has the names only.
    pub text: String,
    /// The prompt's content blocks, if there is more than text.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_blocks")]
    pub blocks: Vec<ContentBlock>,
    /// The caller's `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The agent begins a new conversation, and knows nothing of the turns before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
    /// What it chooses for its turn.
    #[serde(flatten)]
    pub options: TurnOptions,
}

impl Prompt {
    /// Whether it says this.
    pub fn says(&self, content: &PromptContent) -> bool {
        content.text() == self.text && content.blocks() == self.blocks
    }
}

impl From<PromptContent> for Prompt {
    fn from(content: PromptContent) -> Self {
        let blocks = content.blocks().to_vec();
        let text = match content {
            PromptContent::Text(text) => text,
            PromptContent::Blocks(_) => content.text().into_owned(),
        };
        Self {
            text,
            blocks,
            ..Self::default()
        }
    }
}

/// Blocks that a newer version wrote and this one cannot read: then the text is the prompt.
fn known_blocks<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<ContentBlock>, D::Error> {
    let blocks = Vec::<Value>::deserialize(value)?;
    let blocks = blocks.into_iter().map(serde_json::from_value);
    Ok(blocks.collect::<Result<_, _>>().unwrap_or_default())
}

/// Identifies the agent's process, so that it can be found again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Process id in promptd's pid namespace.
    pub pid: i32,
    /// The program's path.
    pub program: String,
    /// The attempt; starts at 1.
    pub attempt: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks from boot to the process's start.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`: pid and ticks are only valid for this boot.
    pub boot_id: String,
    /// A time just before the agent started, from the clock that file systems use for timestamps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<Timestamp>,
    /// The commit that was checked out at that time, if the agent works in a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The format of its output, if it is not the one that the session's agent usually writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// What an agent writes its standard output to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdout {
    /// A file: nobody who reads it can hold the agent up.
    #[default]
    File,
    /// A pipe, which a process of the agent's own tree copies to the file. For agents that refuse a file.
    Pipe,
}

/// A step of the setup, which runs before the agent starts. The same process becomes the agent afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The number of the step; starts at 1.
    pub step: u32,
    /// The number of steps.
    pub of: u32,
    /// The command, or what is cloned.
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
    /// The identity of the process that runs the setup.
    pub fn process(&self) -> Started {
        Started {
            pid: self.pid,
            program: String::new(),
            attempt: self.attempt,
            start_ticks: self.start_ticks,
            boot_id: self.boot_id.clone(),
            begun: None,
            commit: None,
            format: None,
        }
    }
}

/// A chunk of a stream: text, or base64 if it is not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The offset in the turn's stream after this chunk, in bytes.
    pub to: u64,
    /// The chunk was written after the turn had ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The chunk ends a line; the newline itself is not in `data`.
    #[serde(default = "default_true", skip_serializing_if = "Clone::clone")]
    pub eol: bool,
    /// The bytes as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

fn default_true() -> bool {
    true
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
    /// Why the keeper ended it, or why code and signal are unknown.
    #[serde(default, deserialize_with = "cause", skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why it could not be started or set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It did not exit after its final result, so the keeper ended it: code and signal say nothing about the turn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lingered: bool,
    /// Seconds it ran, without the time during which the machine was paused.
    pub duration: f64,
    /// The resources it used.
    pub resources: Resources,
    /// Processes of its tree that are still running.
    pub leftover_processes: u32,
}

/// Resources used by a process and its reaped children.
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
    /// The status.
    #[serde(deserialize_with = "known_or_default")]
    pub status: Status,
    /// Why the turn did not complete.
    #[serde(default, deserialize_with = "cause", skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// When the quota that is used up is full again, if the agent says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<Timestamp>,
    /// Why the model stopped.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// The agent's final answer, at most [`crate::MAX_RESULT`] bytes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// An error message for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Tokens and cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The agent's own session id; the next turn resumes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<String>,
}

/// Missing bytes of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The stream's name.
    pub stream: String,
    /// How many bytes are known to be missing.
    pub bytes: u64,
    /// Why.
    pub reason: String,
    /// The offset in the turn's stream after the gap; the output file starts again at this offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}
