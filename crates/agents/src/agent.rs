//! An agent that can be started: a built-in one or one from the configuration.

use crate::agents::built_in::{BuiltIn, Dialog, Evidence};
use crate::agents::custom::Custom;
use crate::drivers::driver::Driver;
use crate::formats::format::Format;
use crate::launch::capabilities::Capabilities;
use crate::launch::command::{Launch, Unsupported, check_arguments};
use crate::launch::mcp;
use crate::launch::request::TurnRequest;
use crate::output::lines::clean::Clean;
use crate::output::observer::Observer;
use crate::output::update::Translator;
use promptd_model::Stdout;

/// An agent that can be started.
#[derive(Debug, Clone)]
pub enum Agent {
    /// One that promptd knows without configuration.
    BuiltIn(&'static BuiltIn),
    /// One from the configuration.
    Custom(Custom),
}

impl Agent {
    /// The name by which requests select this agent.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(agent) => agent.name,
            Self::Custom(agent) => &agent.name,
        }
    }

    /// Programs that can run it, best first: names to look up on the `PATH`, or a path from the configuration.
    #[must_use]
    pub fn programs(&self) -> Vec<&str> {
        match self {
            Self::BuiltIn(agent) => agent.programs.to_vec(),
            Self::Custom(agent) => agent.program().into_iter().collect(),
        }
    }

    /// The command that installs it, if there is one.
    #[must_use]
    pub fn install(&self) -> Option<&'static str> {
        match self {
            Self::BuiltIn(agent) => Some(agent.install),
            Self::Custom(_) => None,
        }
    }

    /// How promptd knows this agent; `None` for one from the configuration.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        match self {
            Self::BuiltIn(_) => Some(Evidence::Tested),
            Self::Custom(_) => None,
        }
    }

    /// The fields of a request that it can honour.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::BuiltIn(agent) => agent.capabilities,
            Self::Custom(agent) => agent.capabilities(),
        }
    }

    /// Computes how to start one turn.
    ///
    /// # Errors
    /// If the request needs something that the agent cannot do. A refusal is better than a field that has no effect.
    pub fn launch(&self, request: &TurnRequest<'_>) -> Result<Launch, Unsupported> {
        if let Self::Custom(agent) = self {
            agent.check(request)?;
        }
        self.capabilities().check(self.name(), request)?;
        mcp::check(self.name(), request.mcp_servers)?;
        let launch = match self {
            Self::BuiltIn(agent) => {
                agent.check_prompt(request.prompt)?;
                match dialog(agent, request.needs_dialog()) {
                    Some(dialog) => {
                        dialog.capabilities.check(agent.name, request)?;
                        dialog.check_files(agent.name, request.blocks)?;
                        (dialog.launch)(request)
                    }
                    None => (agent.launch)(request),
                }
            }
            Self::Custom(agent) => agent.launch(request)?,
        };
        check_arguments(self.name(), &launch, request)?;
        Ok(launch)
    }

    /// What the agent writes; with `is_dialog`, when promptd talks with it.
    #[must_use]
    pub fn format(&self, is_dialog: bool) -> &'static Format {
        match self {
            Self::BuiltIn(agent) => dialog(agent, is_dialog).map_or(agent.format, |dialog| dialog.format),
            Self::Custom(agent) => agent.stream,
        }
    }

    /// What the agent writes its standard output to.
    #[must_use]
    pub fn stdout(&self) -> Stdout {
        match self {
            Self::BuiltIn(_) => Stdout::File,
            Self::Custom(agent) => agent.stdout,
        }
    }

    /// Reads the agent's output for the turn's end; `None` if only the exit code shows how a turn went.
    #[must_use]
    pub fn observer(&self, is_dialog: bool) -> Option<Box<dyn Observer>> {
        self.format(is_dialog).new_observer()
    }

    /// Turns the agent's output into ACP updates; `None` if its bytes are the answer.
    #[must_use]
    pub fn translator(&self, is_dialog: bool) -> Option<Box<dyn Translator>> {
        self.format(is_dialog).new_translator()
    }

    /// Leads the dialog with the agent; `None` if it gets its prompt another way and asks nothing.
    #[must_use]
    pub fn driver(&self, request: &TurnRequest<'_>) -> Option<Box<dyn Driver>> {
        let driver = match self {
            Self::BuiltIn(agent) => (dialog(agent, request.needs_dialog())?.driver)(request),
            Self::Custom(agent) => agent.driver(request)?,
        };
        let chunks = self.format(request.needs_dialog()).chunks;
        Some(Box::new(Clean::new(chunks, driver)))
    }
}

/// Agents that can be talked with are started for a dialog only where the turn needs one.
fn dialog(agent: &'static BuiltIn, is_dialog: bool) -> Option<&'static Dialog> {
    agent.dialog.as_ref().filter(|_| is_dialog)
}
