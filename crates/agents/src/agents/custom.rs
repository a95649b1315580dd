//! An agent from the configuration: any command that takes a prompt.

use crate::drivers;
use crate::drivers::driver::Driver;
use crate::formats::format::Format;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Stdin, Unsupported};
use crate::launch::request::TurnRequest;
use promptd_model::{MAX_ARGUMENT, PermissionMode, Stdout};

/// The placeholder for the prompt file's path in a configured command.
const PROMPT_FILE: &str = "{prompt_file}";
/// The placeholder for the prompt's text in a configured command.
const PROMPT: &str = "{prompt}";

/// A configured agent: `[agents.NAME] command = ["program", "argument", …]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    /// The name by which requests ask for it.
    pub name: String,
    /// The program and its arguments, in which `{prompt_file}` and `{prompt}` are replaced.
    pub command: Vec<String>,
    /// How the prompt reaches it. In a dialog, the protocol carries it.
    pub prompt: PromptBy,
    /// What it writes.
    pub stream: &'static Format,
    /// What it writes it to.
    pub stdout: Stdout,
    /// The mode in which it asks, by its own id.
    pub ask_mode: Option<String>,
}

/// Programs whose own settings say what they ask, whatever their mode is.
const ASK_BY_SETTINGS: [&str; 3] = ["kilo", "kilocode", "opencode"];

/// How a configured agent gets its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptBy {
    /// As its standard input.
    #[default]
    Stdin,
    /// As an argument: in place of `{prompt}`, or as the last one.
    Argument,
    /// As a file's path: in place of `{prompt_file}`, or as the last argument.
    File,
}

impl Custom {
    pub(crate) fn program(&self) -> Option<&str> {
        self.command.first().map(String::as_str)
    }

    /// What the Agent Client Protocol provides for, if the agent speaks it.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let speaks_acp = self.stream.is_dialog;
        Capabilities {
            resume: speaks_acp,
            interrupt: speaks_acp,
            permissions: speaks_acp && !self.asks_by_settings(),
            mcp: speaks_acp,
            images: speaks_acp,
            ..Capabilities::NONE
        }
    }

    /// Whether nothing that promptd could say makes it ask.
    fn asks_by_settings(&self) -> bool {
        let names = self.command.iter().map(|word| {
            let word = word.rsplit('/').next().unwrap_or(word);
            word.split('@').next().unwrap_or(word)
        });
        let mut names = names.filter(|name| ASK_BY_SETTINGS.contains(name));
        let is_kilo = || self.command.iter().any(|word| word.contains("@kilocode/cli"));
        self.ask_mode.is_none() && (names.next().is_some() || is_kilo())
    }

    /// Refuses a request that the agent would not honour, with a better reason than its capabilities give.
    pub(crate) fn check(&self, request: &TurnRequest<'_>) -> Result<(), Unsupported> {
        if request.permission == PermissionMode::Ask && self.stream.is_dialog && self.asks_by_settings() {
            let hint = "its own settings decide what it asks; make it ask there, and name the mode for which that is so in \
                        config.toml, such as ask_mode = \"build\"; or give \"bypass\"";
            return Err(Unsupported {
                agent: self.name.clone(),
                field: "permission",
                hint: hint.to_owned(),
            });
        }
        Ok(())
    }

    /// An agent that speaks ACP has a driver in every permission mode: it gets its prompt no other way.
    pub(crate) fn driver(&self, request: &TurnRequest<'_>) -> Option<Box<dyn Driver>> {
        let ask_mode = self.ask_mode.as_deref();
        self.stream
            .is_dialog
            .then(|| drivers::acp::of_configured(request, ask_mode))
    }

    pub(crate) fn launch(&self, request: &TurnRequest<'_>) -> Result<Launch, Unsupported> {
        let prompt_file = request.prompt_file.to_string_lossy();
        let template = self.command.get(1..).unwrap_or_default();
        let names = |placeholder: &str| template.iter().any(|arg| arg.contains(placeholder));
        let as_argument = self.prompt == PromptBy::Argument || names(PROMPT);
        if as_argument && request.prompt.len() > MAX_ARGUMENT {
            let hint = format!(
                "it has {} bytes and an argument can have {MAX_ARGUMENT} at most; \
                 configure this agent with prompt = \"stdin\" or \"file\"",
                request.prompt.len()
            );
            return Err(Unsupported {
                agent: self.name.clone(),
                field: "prompt",
                hint,
            });
        }
        if as_argument && request.prompt.contains('\0') {
            let hint = "an argument cannot hold a NUL; leave it out, or configure this agent with prompt = \"stdin\"";
            return Err(Unsupported {
                agent: self.name.clone(),
                field: "prompt",
                hint: hint.to_owned(),
            });
        }
        let mut args: Vec<String> = template
            .iter()
            .map(|arg| fill(arg, &prompt_file, request.prompt))
            .collect();
        args.extend_from_slice(request.args);
        match self.prompt {
            PromptBy::Argument if !names(PROMPT) => args.push(request.prompt.to_owned()),
            PromptBy::File if !names(PROMPT_FILE) => args.push(prompt_file.into_owned()),
            PromptBy::Stdin | PromptBy::Argument | PromptBy::File => {}
        }
        let stdin = match self.prompt {
            _ if self.stream.is_dialog => Stdin::Dialog,
            PromptBy::Stdin => Stdin::Prompt,
            PromptBy::Argument | PromptBy::File => Stdin::Null,
        };
        Ok(Launch {
            args,
            stdin,
            ..Launch::default()
        })
    }
}

/// Replaces the placeholders from left to right, so that a placeholder inside the prompt stays what it is.
fn fill(template: &str, prompt_file: &str, prompt: &str) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        rest = if let Some(after) = from.strip_prefix(PROMPT_FILE) {
            filled.push_str(prompt_file);
            after
        } else if let Some(after) = from.strip_prefix(PROMPT) {
            filled.push_str(prompt);
            after
        } else {
            filled.push('{');
            from.strip_prefix('{').unwrap_or_default()
        };
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_in_the_prompt_itself_are_not_replaced() {
        assert_eq!(
            fill("--p={prompt}", "/f", "say {prompt_file} {prompt}"),
            "--p=say {prompt_file} {prompt}"
        );
        assert_eq!(fill("{prompt_file}:{x}{", "/f", "p"), "/f:{x}{");
        assert_eq!(fill("{{prompt}}", "/f", "p"), "{p}");
    }
}
