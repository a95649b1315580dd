//! ACP updates (`session/update`): the one vocabulary for the output of all agents.

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
    /// One that ACP defines.
    Acp(Box<SessionUpdate>),
    /// A line that no translator knows, as it is, so that nothing is lost.
    Raw {
        /// The stream it was written to.
        stream: Stream,
        /// The line without its newline, or a part of a line that is too long to be kept in memory.
        line: Vec<u8>,
        /// Whether a newline follows. All lines of a stream, with these newlines, are its bytes.
        eol: bool,
    },
}

/// Turns one attempt of one agent into updates, line by line, in order; pure.
///
/// A translator gets whole lines, so the chunks in which they were read make no difference. A clone continues from the
/// point where it was made, so that a batch can be translated again without the lines before it.
pub trait Translator: Send + Sync + DynClone {
    /// Translates a line of stdout, without its newline. `None` if the translator does not know the line: the caller then
    /// gets it as [`Update::Raw`]. An empty list only if other updates have all of its content, as for a complete message
    /// after its chunks.
    fn translate_line(&mut self, line: &[u8]) -> Option<Vec<Update>>;
}

dyn_clone::clone_trait_object!(Translator);

impl Update {
    /// A chunk of the agent's answer.
    pub fn message(text: impl Into<String>) -> Self {
        SessionUpdate::AgentMessageChunk(chunk(text)).into()
    }

    /// A chunk of the agent's thoughts.
    pub(crate) fn thought(text: impl Into<String>) -> Self {
        SessionUpdate::AgentThoughtChunk(chunk(text)).into()
    }

    /// The prompt.
    pub fn prompt(text: impl Into<String>) -> Self {
        SessionUpdate::UserMessageChunk(chunk(text)).into()
    }

    /// Tokens and cost of the turn so far. ACP's `used` is the context in use, `size` the model's window, 0 if the agent
    /// does not report it. The counts themselves are in `_meta.usage`.
    pub(crate) fn usage(usage: &Usage, size: u64) -> Self {
        let used = usage
            .input_tokens
            .unwrap_or(0)
            .saturating_add(usage.output_tokens.unwrap_or(0));
        let mut meta = Meta::new();
        meta.insert("usage".to_owned(), json!(usage));
        let cost = usage.cost_usd.map(|amount| Cost::new(amount, "USD"));
        SessionUpdate::UsageUpdate(UsageUpdate::new(used, size).cost(cost).meta(meta)).into()
    }

    /// A whole line of stdout as it is, in addition to updates that do not have all of its content.
    pub(crate) fn raw(line: &[u8]) -> Self {
        Self::raw_part(line, true)
    }

    /// A part of a line of stdout as it is.
    pub(crate) fn raw_part(line: &[u8], eol: bool) -> Self {
        Self::Raw {
            eol,
            stream: Stream::Stdout,
            line: line.to_vec(),
        }
    }

    /// Marks token counts that are sums over all turns of the conversation. The turn's own counts are in its outcome.
    #[must_use]
    pub(crate) fn cumulative(self) -> Self {
        match &self {
            Self::Acp(update) if matches!(**update, SessionUpdate::UsageUpdate(_)) => {
                self.with_meta("cumulative", true.into())
            }
            Self::Acp(_) | Self::Raw { .. } => self,
        }
    }

    /// Adds a member to `_meta`, for the kinds of updates that our translators make.
    #[must_use]
    pub(crate) fn with_meta(mut self, key: &str, value: Value) -> Self {
        let Self::Acp(update) = &mut self else { return self };
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
        Self::Acp(Box::new(update))
    }
}

fn chunk(text: impl Into<String>) -> ContentChunk {
    ContentChunk::new(ContentBlock::Text(TextContent::new(text)))
}

/// [`Update::Raw`] on the wire, with the field names of an output record.
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
            Self::Acp(update) => update.serialize(serializer),
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
