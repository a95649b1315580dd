//! A built-in agent as data, and the checks that need nothing but this data.

use std::path::{Path, PathBuf};

use crate::drivers;
use crate::drivers::driver::Driver;
use crate::formats;
use crate::formats::format::Format;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Unsupported};
use crate::launch::request::TurnRequest;
use promptd_model::ContentBlock;

/// An agent that promptd knows without configuration. Its own file has the functions that start it.
#[derive(Debug)]
pub struct BuiltIn {
    /// The name by which requests select it.
    pub name: &'static str,
    /// Names to look up on the `PATH`, best first.
    pub programs: &'static [&'static str],
    /// Takes the launcher that was found, with all links resolved. Gives the native binaries to try first, best first. A
    /// script for node (`….js`) is run by the `node` of the `PATH`.
    pub native: fn(&Path) -> Vec<PathBuf>,
    /// The command that installs it.
    pub install: &'static str,
    /// Which prompts it takes; all when absent.
    pub prompt_limit: Option<PromptLimit>,
    /// The fields of a request that it can honour.
    pub capabilities: Capabilities,
    /// What it writes outside of a dialog.
    pub format: &'static Format,
    pub(crate) launch: fn(&TurnRequest<'_>) -> Launch,
    /// For `permission: "ask"`, and for prompts with images and files; `None` if the agent cannot be talked with.
    pub(crate) dialog: Option<Dialog>,
}

/// How an agent is started for a dialog over its standard streams, and the protocol.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) launch: fn(&TurnRequest<'_>) -> Launch,
    /// The fields of a request that it can honour then, of those that it can honour at all.
    pub(crate) capabilities: Capabilities,
    /// What it writes then.
    pub(crate) format: &'static Format,
    /// The types of the files that it takes in a prompt, by their beginning.
    pub(crate) files: &'static [&'static str],
    /// A driver for one attempt.
    pub(crate) driver: fn(&TurnRequest<'_>) -> Box<dyn Driver>,
}

impl Dialog {
    pub(crate) fn check_files(&self, agent: &str, blocks: &[ContentBlock]) -> Result<(), Unsupported> {
        let takes = |mime: &str| self.files.iter().any(|known| mime.starts_with(known));
        let mut blocks = blocks.iter().enumerate();
        let wrong = blocks.find_map(|(index, block)| Some((index, block.file()?.1)).filter(|(_, mime)| !takes(mime)));
        wrong.map_or(Ok(()), |(index, mime)| {
            let (mime, known): (String, _) = (mime.chars().take(200).collect(), self.files.join(", "));
            Err(Unsupported {
                agent: agent.to_owned(),
                field: "prompt",
                hint: format!(
                    "prompt[{index}] is of type {mime:?}, and it takes {known} only; put the file into the workspace and name it"
                ),
            })
        })
    }
}

/// For agents that speak ACP. The driver names the session. The launch names the MCP servers, as in a turn without a
/// dialog: of the servers that come by the protocol, copilot 1.0.102 ignores programs without an error, and gemini
/// 0.61.0 expands variables in their values.
pub(crate) const fn acp_dialog(launch: fn(&TurnRequest<'_>) -> Launch) -> Dialog {
    Dialog {
        launch,
        capabilities: Capabilities::ALL,
        format: &formats::acp::ACP,
        files: &[""],
        driver: |request| drivers::acp::new(&request.without_mcp_servers()),
    }
}

/// How promptd knows an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The tests run its real program.
    Tested,
}

/// Which prompts an agent takes. Beyond it, agents exit, or cut the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptLimit {
    /// In bytes of UTF-8.
    Bytes(usize),
    /// In Unicode characters.
    Characters(usize),
    /// Any length, but no NUL: the prompt is a script.
    NoNul,
}

impl BuiltIn {
    pub(crate) fn check_prompt(&self, prompt: &str) -> Result<(), Unsupported> {
        let (length, limit, unit) = match self.prompt_limit {
            Some(PromptLimit::Bytes(limit)) => (prompt.len(), limit, "bytes"),
            // Counting is only worth it where the bytes could be too many.
            Some(PromptLimit::Characters(limit)) if prompt.len() > limit => {
                (prompt.chars().count(), limit, "characters")
            }
            Some(PromptLimit::NoNul) if prompt.contains('\0') => {
                return self.refuse_prompt("it has a NUL, and a script cannot have one; leave it out".to_owned());
            }
            Some(PromptLimit::Characters(_) | PromptLimit::NoNul) | None => return Ok(()),
        };
        if length <= limit {
            return Ok(());
        }
        self.refuse_prompt(format!(
            "it has {length} {unit} and can have {limit} at most; put the text into a file and name the file"
        ))
    }

    fn refuse_prompt(&self, hint: String) -> Result<(), Unsupported> {
        Err(Unsupported {
            agent: self.name.to_owned(),
            field: "prompt",
            hint,
        })
    }
}

/// For agents whose launcher is already the best program.
pub(crate) fn no_native(_launcher: &Path) -> Vec<PathBuf> {
    Vec::new()
}
