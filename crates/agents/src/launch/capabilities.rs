//! The fields of a request that an agent can honour, and the refusal of the others.

use promptd_model::PermissionMode;

use super::command::Unsupported;
use super::request::TurnRequest;

/// The fields of a request that an agent can honour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, utoipa::ToSchema)]
#[schema(as = AgentCapabilities)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent field of a request"
)]
pub struct Capabilities {
    /// A follow-up turn continues the conversation.
    pub resume: bool,
    /// `interrupt` ends a turn in the agent's own way, and the next prompt continues the conversation.
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
    /// A `prompt` with images and files
    pub images: bool,
    /// `"when": "now"`: a message while a turn runs
    pub steering: bool,
}

impl Capabilities {
    /// Every field.
    pub(crate) const ALL: Self = Self::each(true);
    /// No field.
    pub(crate) const NONE: Self = Self::each(false);

    const fn each(is_able: bool) -> Self {
        Self {
            resume: is_able,
            interrupt: is_able,
            permissions: is_able,
            mcp: is_able,
            model: is_able,
            system_prompt: is_able,
            max_turns: is_able,
            allowed_tools: is_able,
            images: is_able,
            steering: is_able,
        }
    }

    /// Whether the agent can honour this field; true for those that do not depend on one capability.
    pub fn supports(self, field: &str) -> bool {
        match field {
            "model" => self.model,
            "system_prompt" => self.system_prompt,
            "max_turns" => self.max_turns,
            "allowed_tools" => self.allowed_tools,
            "permission" => self.permissions,
            "steerable" => self.steering,
            "mcp_servers" => self.mcp,
            _ => true,
        }
    }

    /// Refuses a request with a field that the agent cannot honour.
    pub(crate) fn check(self, agent: &str, request: &TurnRequest<'_>) -> Result<(), Unsupported> {
        let fields = [
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
                "prompt",
                request.blocks.iter().any(|block| block.file().is_some()),
                self.images,
                "it takes text only; use an agent whose `images` in /v1/agents is true, or put the file into the workspace and name it",
            ),
            (
                "steerable",
                request.steerable,
                self.steering,
                "it takes no message while it works; leave it out, or use an agent whose `steering` in /v1/agents is true",
            ),
            (
                "mcp_servers",
                !request.mcp_servers.is_empty(),
                self.mcp,
                "it takes none from us; leave them out, or configure them in the agent's own files",
            ),
        ];
        match fields.into_iter().find(|(_, is_set, is_able, _)| *is_set && !is_able) {
            Some((field, _, _, hint)) => Err(Unsupported {
                agent: agent.to_owned(),
                field,
                hint: hint.to_owned(),
            }),
            None => Ok(()),
        }
    }
}
