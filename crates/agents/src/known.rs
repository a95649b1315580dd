//! What promptd knows of an agent, as data, and the checks that follow from the data alone.

use std::path::{Path, PathBuf};

use super::drivers::{self, Driver};
use super::formats::{self, Format};
use super::{Launch, TurnRequest, Unsupported};
use promptd_model::PermissionMode;

/// An agent that promptd knows by itself. How to start it and how to read it are functions of the agent's own file.
#[derive(Debug)]
pub struct Known {
    /// The name by which requests ask for it.
    pub name: &'static str,
    /// Names to look up on the `PATH`, best first.
    pub programs: &'static [&'static str],
    /// From the launcher that was found, with all links resolved: native binaries to try first, best first. A script
    /// for node (`….js`) is run by the `node` of the `PATH`.
    pub native: fn(&Path) -> Vec<PathBuf>,
    /// The command that installs it.
    pub install: &'static str,
    /// How long a prompt it takes.
    pub prompt_limit: Option<PromptLimit>,
    /// Whether a new conversation takes its id from us. If not, the id is learnt from the agent's output.
    pub chooses_session_id: bool,
    /// How we know it.
    pub evidence: Evidence,
    /// Variables without which it neither works nor ends: a turn would wait for ever.
    pub required_env: &'static [&'static str],
    /// What a request may ask of it.
    pub capabilities: Capabilities,
    /// What it writes when it is not talked with.
    pub format: &'static Format,
    pub(super) launch: fn(&TurnRequest<'_>) -> Launch,
    /// How it is talked with, where it can be: for `permission: "ask"`.
    pub(super) conversation: Option<Conversation>,
}

/// How an agent is started to be talked with, and the protocol.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) launch: fn(&TurnRequest<'_>) -> Launch,
    /// What it writes then.
    pub(super) format: &'static Format,
    /// A driver for one attempt.
    pub(super) driver: fn(&TurnRequest<'_>) -> Box<dyn Driver>,
}

/// For agents that speak ACP. The driver says which session; the launch names the servers of tools, as it does for a
/// turn without a conversation. Of those that the protocol hands over, copilot 1.0.102 drops programs without a word,
/// and gemini 0.61.0 puts variables into their values.
pub(super) const fn acp_conversation(launch: fn(&TurnRequest<'_>) -> Launch) -> Conversation {
    Conversation {
        launch,
        format: &formats::ACP,
        driver: |request| drivers::acp(&request.without_servers()),
    }
}

/// How we know an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Its real program is run by the tests.
    Tested,
    /// From its maker's documentation; no registry that the tests reach has it.
    Documented,
}

/// The longest prompt that an agent takes; what happens beyond it differs and is never good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptLimit {
    /// In bytes of UTF-8.
    Bytes(usize),
    /// In Unicode characters.
    Characters(usize),
}

/// The fields of a request that an agent can honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent field of a request"
)]
pub struct Capabilities {
    /// A follow-up turn knows the turns before it.
    pub resume: bool,
    /// `interrupt` ends a turn in the agent's own way, and the next prompt goes on.
    pub interrupt: bool,
    /// `permission: "ask"`
    pub permissions: bool,
    /// `mcp_servers`
    pub mcp: bool,
    /// `model`
    pub model: bool,
    /// `system_prompt`
    pub system_prompt: bool,
    /// `max_turns`
    pub max_turns: bool,
    /// `allowed_tools`
    pub allowed_tools: bool,
}

impl Capabilities {
    pub(super) fn check(self, agent: &str, request: &TurnRequest<'_>) -> Result<(), Unsupported> {
        let asked = [
            ("model", request.model.is_some(), self.model, "leave it out"),
            (
                "system_prompt",
                request.system_prompt.is_some(),
                self.system_prompt,
                "say it in the prompt",
            ),
            (
                "max_turns",
                request.max_turns.is_some(),
                self.max_turns,
                "leave it out; `timeout` bounds a turn too",
            ),
            (
                "allowed_tools",
                !request.allowed_tools.is_empty(),
                self.allowed_tools,
                "leave it out, or pass the agent's own options in `args`",
            ),
            (
                "permission",
                request.permission == PermissionMode::Ask,
                self.permissions,
                "it cannot be asked to ask; give \"bypass\", or use an agent whose `permissions` in /v1/agents is true",
            ),
            (
                "mcp_servers",
                !request.mcp_servers.is_empty(),
                self.mcp,
                "it takes none from us; leave them out, or configure them in the agent's own files",
            ),
        ];
        match asked.into_iter().find(|(_, asked, able, _)| *asked && !able) {
            Some((field, _, _, hint)) => Err(Unsupported {
                agent: agent.to_owned(),
                field,
                hint: hint.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

impl Known {
    pub(super) fn check_prompt(&self, prompt: &str) -> Result<(), Unsupported> {
        let (is, limit, unit) = match self.prompt_limit {
            Some(PromptLimit::Bytes(limit)) => (prompt.len(), limit, "bytes"),
            // Counting is only worth it where the bytes could be too many.
            Some(PromptLimit::Characters(limit)) if prompt.len() > limit => {
                (prompt.chars().count(), limit, "characters")
            }
            Some(PromptLimit::Characters(_)) | None => return Ok(()),
        };
        if is <= limit {
            return Ok(());
        }
        let hint =
            format!("it has {is} {unit} and can have {limit} at most; put the text into a file and name the file");
        Err(Unsupported {
            agent: self.name.to_owned(),
            field: "prompt",
            hint,
        })
    }
}

/// For agents whose launcher is already the best program.
pub(super) fn no_native(_launcher: &Path) -> Vec<PathBuf> {
    Vec::new()
}
