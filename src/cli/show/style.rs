//! What the user has chosen, and what the terminal can do.

use crate::cli::terminal::Paint;

/// The look of the text.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent choice of the user"
)]
pub(crate) struct Style {
    /// Use colours.
    pub(crate) colours: bool,
    /// For a terminal: control characters become visible, and thoughts are shown.
    pub(crate) terminal: bool,
    /// Columns of a line.
    pub(crate) width: usize,
    /// Show all output of the agent.
    pub(crate) verbose: bool,
    /// Show prompts.
    pub(crate) prompts: bool,
    /// Questions can be answered with a key.
    pub(crate) keys: bool,
}

impl Style {
    /// Text only.
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

    /// The text in a colour, if colours are used.
    pub(crate) fn on(&self, paint: Paint, text: &str) -> String {
        on(self.colours, paint, text)
    }
}

/// The text in a colour, if colours are used.
pub(crate) fn on(colours: bool, paint: Paint, text: &str) -> String {
    if colours { paint.apply(text) } else { text.to_owned() }
}
