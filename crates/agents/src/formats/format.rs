//! A format of an agent's standard output, as data.

use crate::output::lines::clean::Clean;
use crate::output::lines::json_line::ChunkPath;
use crate::output::observer::Observer;
use crate::output::update::Translator;

/// A format of an agent's standard output.
#[derive(Debug)]
pub struct Format {
    /// The name by which a configuration selects it.
    pub name: &'static str,
    /// Its stream ends with an event that has the outcome of the turn.
    pub final_event: bool,
    /// Whether [`Usage`](promptd_model::Usage) counts over all turns of the conversation. A turn's own usage is then the
    /// difference to the turn before.
    pub usage_is_cumulative: bool,
    /// An agent that writes this is started for a dialog in every permission mode.
    pub is_dialog: bool,
    /// Where the texts are that come in chunks.
    pub(crate) chunks: &'static [ChunkPath],
    /// Reads it for the turn's end; none if only the exit code shows it.
    pub(crate) observer: Option<NewObserver>,
    /// Turns it into ACP updates; none if the bytes themselves are the answer.
    pub(crate) translator: Option<NewTranslator>,
}

/// Makes one observer.
type NewObserver = fn() -> Box<dyn Observer>;
/// Makes one translator.
type NewTranslator = fn() -> Box<dyn Translator>;

impl Format {
    /// A stream of lines with a final event, and with usage of the turn alone.
    pub(crate) const fn stream(name: &'static str, observer: NewObserver, translator: NewTranslator) -> Self {
        Self {
            name,
            final_event: true,
            usage_is_cumulative: false,
            is_dialog: false,
            chunks: &[],
            observer: Some(observer),
            translator: Some(translator),
        }
    }

    /// What reads it for the turn's end.
    pub(crate) fn new_observer(&self) -> Option<Box<dyn Observer>> {
        let observer = self.observer?();
        Some(Box::new(Clean::new(self.chunks, observer)))
    }

    /// What turns it into ACP updates.
    pub(crate) fn new_translator(&self) -> Option<Box<dyn Translator>> {
        let translator = self.translator?();
        Some(Box::new(Clean::new(self.chunks, translator)))
    }
}

/// A format is its name: there is one of each.
impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}
