//! How `run` and `attach` print: for a person, as bytes, or as the lines of a view.

use std::io::{self, IsTerminal as _};

use clap::Args;

use super::printer::Form;
use crate::cli::client::{Session, TurnEnd};
use crate::cli::global::one_of;
use crate::cli::show::{Show, Style, hint, summary};
use crate::cli::stdio::say;
use crate::cli::terminal::{self, Colour};
use promptd_model::{SessionStatus, View};

/// The flags of the output.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print the session's events, one JSON document per line
    #[arg(long)]
    json: bool,
    /// Which view: `raw` for the journal's records, or `updates` for ACP updates, the same for every agent
    #[arg(long, value_parser = one_of::<View>(&["raw", "updates"]), default_value = "raw", requires = "json")]
    view: View,
    /// Print also lines of the agent that are not understood, and its thoughts if output is not a terminal
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
}

impl OutputArgs {
    /// The form of the output. Plain text of an agent is printed unchanged.
    pub(crate) fn form(&self, session: &Session, colour: Colour, prompts: bool) -> Form {
        if self.json {
            return Form::Json(self.view);
        }
        if !session.has_updates() {
            return Form::Raw;
        }
        let terminal = io::stdout().is_terminal();
        let style = Style {
            colours: colour.is_on(terminal),
            terminal,
            width: terminal::width(),
            verbose: self.verbose,
            prompts,
            keys: terminal::has_keys(),
        };
        Form::Show(Box::new(Show::new(&session.id, style)))
    }

    /// Prints how the turn ended: on a terminal always, elsewhere if it failed.
    pub(crate) fn print_end(&self, session: &Session, end: &TurnEnd, colour: Colour) {
        let terminal = io::stderr().is_terminal();
        let failed = end.status != SessionStatus::Completed && session.has_updates() && !self.json;
        if !terminal && !failed {
            return;
        }
        let colours = colour.is_on(terminal);
        say(&summary(end, colours));
        if terminal && session.has_updates() {
            say(&hint(&session.id, colours));
        }
    }
}
