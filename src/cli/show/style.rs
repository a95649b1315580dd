//! What a person has chosen, and what the terminal can do.

use crate::cli::table::Paint;

/// How it is to look.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent choice of the user"
)]
pub(in crate::cli) struct Style {
    /// With escape codes for colours.
    pub(in crate::cli) colours: bool,
    /// For a terminal: what it would obey is made visible, and thoughts are shown.
    pub(in crate::cli) terminal: bool,
    /// Columns of a line.
    pub(in crate::cli) width: usize,
    /// With all that the agent writes.
    pub(in crate::cli) verbose: bool,
    /// With the prompts.
    pub(in crate::cli) prompts: bool,
    /// Somebody can answer a question with a key.
    pub(in crate::cli) keys: bool,
}

impl Style {
    /// Nothing but text.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self {
            colours: false,
            terminal: false,
            width: 80,
            verbose: false,
            prompts: false,
            keys: false,
        }
    }

    /// The text in a colour, where there are colours.
    pub(super) fn on(&self, paint: Paint, text: &str) -> String {
        on(self.colours, paint, text)
    }
}

/// The text in a colour, where there are any.
pub(super) fn on(colours: bool, paint: Paint, text: &str) -> String {
    if colours { paint.on(text) } else { text.to_owned() }
}
