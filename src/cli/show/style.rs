//! What a person has chosen, and what the terminal can do.

use crate::cli::terminal::Paint;

/// How it is to look.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent choice of the user"
)]
pub(crate) struct Style {
    /// With escape codes for colours.
    pub(crate) colours: bool,
    /// For a terminal: what it would obey is made visible, and thoughts are shown.
    pub(crate) terminal: bool,
    /// Columns of a line.
    pub(crate) width: usize,
    /// With all that the agent writes.
    pub(crate) verbose: bool,
    /// With the prompts.
    pub(crate) prompts: bool,
    /// Somebody can answer a question with a key.
    pub(crate) keys: bool,
}

impl Style {
    /// Nothing but text.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
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
    pub(crate) fn on(&self, paint: Paint, text: &str) -> String {
        on(self.colours, paint, text)
    }
}

/// The text in a colour, where there are any.
pub(crate) fn on(colours: bool, paint: Paint, text: &str) -> String {
    if colours { paint.apply(text) } else { text.to_owned() }
}
