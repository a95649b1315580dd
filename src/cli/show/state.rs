//! What is remembered between two lines of the view.

use std::collections::{BTreeSet, VecDeque};

use super::style::Style;
use super::tools::Tools;
use crate::cli::terminal::Cleaner;
use promptd_model::{Permission, Stream};

/// Turns lines of the view into text.
#[derive(Debug)]
pub(crate) struct Show {
    pub(super) session: String,
    pub(super) style: Style,
    pub(super) tools: Tools,
    pub(super) plan: Vec<String>,
    /// The messages of the turn that have been shown, by their ids.
    pub(super) shown: BTreeSet<String>,
    pub(super) block: Block,
    pub(super) cleaner: Cleaner,
    /// The last line has not ended.
    pub(super) open: bool,
    /// The output comes from a setup command.
    pub(super) is_setup: bool,
    /// Not yet answered, oldest first.
    pub(super) questions: VecDeque<Permission>,
    pub(super) pieces: Vec<(Stream, String)>,
}

/// The kind of the last output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Nothing,
    Text,
    Thought,
    Lines,
    Notice,
}

impl Show {
    pub(crate) fn new(session: &str, style: Style) -> Self {
        Self {
            session: session.to_owned(),
            style,
            tools: Tools::default(),
            plan: Vec::new(),
            shown: BTreeSet::new(),
            block: Block::Nothing,
            cleaner: Cleaner::default(),
            open: false,
            is_setup: false,
            questions: VecDeque::new(),
            pieces: Vec::new(),
        }
    }
}
