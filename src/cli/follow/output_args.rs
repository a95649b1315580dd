//! How `run` and `attach` print: for a person, as bytes, or as a view's lines.

use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};

use super::printer::Form;
use crate::cli::client::{Session, TurnEnd};
use crate::cli::show::{Show, Style, hint, summary};
use crate::cli::stdio::say;
use crate::cli::terminal::{self, Colour};
use promptd_model::{SessionStatus, View};

/// The flags of it.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Print the session's events, one JSON document per line
    #[arg(long)]
    json: bool,
    /// In which words: `raw`, the journal's own records, or `updates`, the same for every agent
    #[arg(long, value_enum, value_name = "VIEW", default_value = "raw", requires = "json")]
    view: Words,
    /// Print the lines of the agent that have no other form, and its thoughts where that is no terminal
    #[arg(short, long, conflicts_with = "json")]
    verbose: bool,
}

/// [`View`], as an argument.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Words {
    Raw,
    Updates,
}

impl Look {
    /// The form for a session. An agent that writes plain text is given as it is, byte for byte.
    pub(crate) fn form(&self, session: &Session, colour: Colour, prompts: bool) -> Form {
        if self.json {
            return Form::Json(match self.view {
                Words::Raw => View::Raw,
                Words::Updates => View::Updates,
            });
        }
        if !session.has_words() {
            return Form::Raw;
        }
        let terminal = io::stdout().is_terminal();
        let style = Style {
            colours: colour.on(terminal),
            terminal,
            width: terminal::width(),
            verbose: self.verbose,
            prompts,
            keys: terminal::has_keys(),
        };
        Form::Show(Box::new(Show::new(&session.id, style)))
    }

    /// How a turn ended: for a person always, and wherever an agent's own words do not say it.
    pub(crate) fn last_words(&self, session: &Session, end: &TurnEnd, colour: Colour) {
        let terminal = io::stderr().is_terminal();
        let failed = end.status != SessionStatus::Completed && session.has_words() && !self.json;
        if !terminal && !failed {
            return;
        }
        let colours = colour.on(terminal);
        say(&summary(end, colours));
        if terminal && session.has_words() {
            say(&hint(&session.id, colours));
        }
    }
}
