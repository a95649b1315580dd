//! What agents say, in the words of ACP's `session/update`, whatever their own words are.

use agent_client_protocol_schema::v1::{
    ContentBlock, ContentChunk, Cost, Meta, SessionUpdate, TextContent, UsageUpdate,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dyn_clone::DynClone;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use promptd_model::{Stream, Usage};

/// One update of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// One that ACP has a word for.
    Known(Box<SessionUpdate>),
    /// A line that no translator knows, as it is; so that nothing is dropped.
    Raw {
        /// Where it was written.
        stream: Stream,
        /// The line without its newline, or a piece of one that is too long to be put together.
        line: Vec<u8>,
        /// A newline ends it here: all of a stream's lines, each with a newline where this is true, are its bytes.
        eol: bool,
    },
}

/// Reads one attempt of one agent, line by line, in order; pure.
///
/// Which bytes came together must make no difference: a translator sees whole lines only. A copy goes on from where it
/// was taken, so that a batch that has to be made again need not be translated from the attempt's beginning.
pub trait Translator: Send + Sync + DynClone {
    /// What a line of stdout says, without its newline. `None` where the translator does not know the line: it then
    /// reaches the caller as [`Update::Raw`]. An empty list only where other updates say all that is in it, such as
    /// the whole message behind its pieces.
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>>;
}

dyn_clone::clone_trait_object!(Translator);

impl Update {
    /// A piece of the agent's answer.
    pub fn message(text: impl Into<String>) -> Self {
        SessionUpdate::AgentMessageChunk(chunk(text)).into()
    }

    /// A piece of the agent's thoughts.
    pub(super) fn thought(text: impl Into<String>) -> Self {
        SessionUpdate::AgentThoughtChunk(chunk(text)).into()
    }

    /// The prompt.
    pub fn prompt(text: impl Into<String>) -> Self {
        SessionUpdate::UserMessageChunk(chunk(text)).into()
    }

    /// Tokens and money of the turn so far. ACP's `used` is the context in use and `size` the model's window, 0 where
    /// the agent does not tell it; the counts themselves stand in `_meta.usage`.
    pub(super) fn usage(usage: &Usage, size: u64) -> Self {
        let used = usage
            .input_tokens
            .unwrap_or(0)
            .saturating_add(usage.output_tokens.unwrap_or(0));
        let mut meta = Meta::new();
        meta.insert("usage".to_owned(), json!(usage));
        let cost = usage.cost_usd.map(|amount| Cost::new(amount, "USD"));
        SessionUpdate::UsageUpdate(UsageUpdate::new(used, size).cost(cost).meta(meta)).into()
    }
}

impl Update {
    /// A whole line of stdout as it is, beside updates that do not say all of it.
    pub(super) fn raw(line: &[u8]) -> Self {
        Self::Raw {
            eol: true,
            stream: Stream::Stdout,
            line: line.to_vec(),
        }
    }

    /// Counts of tokens are of all turns of the conversation: the turn's own stand in its end.
    #[must_use]
    pub(super) fn of_all_turns(self) -> Self {
        match &self {
            Self::Known(update) if matches!(**update, SessionUpdate::UsageUpdate(_)) => {
                self.with_meta("cumulative", true.into())
            }
            Self::Known(_) | Self::Raw { .. } => self,
        }
    }

    /// Adds to `_meta`, in the kinds of updates that our translators make.
    #[must_use]
    pub(super) fn with_meta(mut self, key: &str, value: Value) -> Self {
        let Self::Known(update) = &mut self else { return self };
        let meta = match &mut **update {
            SessionUpdate::UserMessageChunk(chunk)
            | SessionUpdate::AgentMessageChunk(chunk)
            | SessionUpdate::AgentThoughtChunk(chunk) => &mut chunk.meta,
            SessionUpdate::ToolCall(call) => &mut call.meta,
            SessionUpdate::ToolCallUpdate(call) => &mut call.meta,
            SessionUpdate::Plan(plan) => &mut plan.meta,
            SessionUpdate::UsageUpdate(usage) => &mut usage.meta,
            _ => return self,
        };
        meta.get_or_insert_default().insert(key.to_owned(), value);
        self
    }
}

impl From<SessionUpdate> for Update {
    fn from(update: SessionUpdate) -> Self {
        Self::Known(Box::new(update))
    }
}

fn chunk(text: impl Into<String>) -> ContentChunk {
    ContentChunk::new(ContentBlock::Text(TextContent::new(text)))
}

/// [`Update::Raw`] on the wire, in the words of an output record.
#[derive(Serialize)]
struct RawUpdate<'a> {
    #[serde(rename = "sessionUpdate")]
    session_update: &'static str,
    stream: Stream,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Clone::clone")]
    eol: bool,
}

impl Serialize for Update {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(update) => update.serialize(serializer),
            Self::Raw { stream, line, eol } => {
                let text = std::str::from_utf8(line);
                RawUpdate {
                    session_update: "_raw",
                    stream: *stream,
                    line: text.ok(),
                    base64: text.err().map(|_| BASE64.encode(line)),
                    eol: *eol,
                }
                .serialize(serializer)
            }
        }
    }
}
