//! ACP updates (`session/update`): the one vocabulary for the output of all agents.

use agent_client_protocol_schema::MaybeUndefined;
use agent_client_protocol_schema::v1::{
    CompactionId, ContentBlock, ContentChunk, MessageId, Notice, NoticeSeverity, SessionUpdate, TextContent,
    ToolCallStatus, ToolCallUpdate, ToolCallUpdateFields,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dyn_clone::DynClone;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::usage::UsageReport;
use promptd_model::Stream;

/// One update of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// One that ACP defines.
    Acp(Box<SessionUpdate>),
    /// The chunks of a message so far are void: the agent asks the model once more, and its text comes again. ACP has no
    /// word for it.
    Superseded {
        /// The `messageId` of these chunks.
        message_id: String,
    },
    /// Tokens and cost.
    Usage(UsageReport),
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

    /// Says to which message a chunk belongs.
    #[must_use]
    pub(crate) fn in_message(mut self, id: impl Into<String>) -> Self {
        if let Some(message_id) = self.message_id() {
            *message_id = Some(MessageId::new(id.into()));
        }
        self
    }

    /// Makes the ids of messages that a translator has numbered ([`numbered`]) unique in the session.
    #[must_use]
    pub(crate) fn with_unique_id(mut self, attempt: u64) -> Self {
        let unique = |id: &str| Some(format!("{attempt}.{}", id.strip_prefix(NUMBERED)?));
        if let Self::Superseded { message_id } = &mut self
            && let Some(id) = unique(message_id)
        {
            *message_id = id;
        }
        if let Self::Acp(update) = &mut self
            && let SessionUpdate::CompactionUpdate(compaction) = &mut **update
            && let Some(id) = unique(&compaction.compaction_id.0)
        {
            compaction.compaction_id = CompactionId::new(id);
        }
        if let Some(message_id) = self.message_id()
            && let Some(id) = message_id.as_ref().and_then(|id| unique(&id.0))
        {
            *message_id = Some(MessageId::new(id));
        }
        self
    }

    fn message_id(&mut self) -> Option<&mut Option<MessageId>> {
        let Self::Acp(update) = self else { return None };
        match &mut **update {
            SessionUpdate::UserMessageChunk(chunk)
            | SessionUpdate::AgentMessageChunk(chunk)
            | SessionUpdate::AgentThoughtChunk(chunk) => Some(&mut chunk.message_id),
            _ => None,
        }
    }

    /// Something that a person should know, and that is no part of the conversation.
    pub(crate) fn notice(severity: NoticeSeverity, title: impl Into<String>, description: &str) -> Self {
        let description = Some(description.to_owned()).filter(|text| !text.is_empty());
        SessionUpdate::Notice(Notice::new(severity, title).description(description)).into()
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

    /// A call has ended because its agent has, which has not reported it.
    pub(crate) fn failed_call(id: String) -> Self {
        let fields = ToolCallUpdateFields::new().status(ToolCallStatus::Failed);
        SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id, fields)).into()
    }

    /// The tool call that the update is about, and whether it has ended; `None` if it says nothing about that.
    pub(crate) fn tool_call_state(&self) -> Option<(&str, bool)> {
        let Self::Acp(update) = self else { return None };
        let (id, status) = match &**update {
            SessionUpdate::ToolCall(call) => (&call.tool_call_id, Some(call.status)),
            SessionUpdate::ToolCallUpdate(call) => (&call.tool_call_id, call.fields.status),
            _ => return None,
        };
        let has_ended = matches!(status?, ToolCallStatus::Completed | ToolCallStatus::Failed);
        Some((&*id.0, has_ended))
    }

    /// Adds a member to `_meta`, for the kinds of updates that our translators make.
    #[must_use]
    pub(crate) fn with_meta(mut self, key: &str, value: Value) -> Self {
        let Self::Acp(update) = &mut self else { return self };
        if let SessionUpdate::CompactionUpdate(compaction) = &mut **update {
            let mut meta = std::mem::take(&mut compaction.meta).take().unwrap_or_default();
            meta.insert(key.to_owned(), value);
            compaction.meta = MaybeUndefined::Value(meta);
            return self;
        }
        let meta = match &mut **update {
            SessionUpdate::UserMessageChunk(chunk)
            | SessionUpdate::AgentMessageChunk(chunk)
            | SessionUpdate::AgentThoughtChunk(chunk) => &mut chunk.meta,
            SessionUpdate::ToolCall(call) => &mut call.meta,
            SessionUpdate::ToolCallUpdate(call) => &mut call.meta,
            SessionUpdate::Plan(plan) => &mut plan.meta,
            SessionUpdate::UsageUpdate(usage) => &mut usage.meta,
            SessionUpdate::Notice(notice) => &mut notice.meta,
            SessionUpdate::CurrentModeUpdate(mode) => &mut mode.meta,
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

/// What a translator's own ids of messages begin with.
const NUMBERED: char = '@';

/// The id of a message of an agent that gives it none. A number is enough for a translator: it knows one attempt only.
pub(crate) fn numbered(number: u64) -> String {
    format!("{NUMBERED}{number}")
}

fn chunk(text: impl Into<String>) -> ContentChunk {
    ContentChunk::new(ContentBlock::Text(TextContent::new(text)))
}

/// [`Update::Superseded`] on the wire, with the field names of ACP.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SupersededUpdate<'a> {
    session_update: &'static str,
    message_id: &'a str,
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
            Self::Usage(report) => report.update().serialize(serializer),
            Self::Superseded { message_id } => SupersededUpdate {
                session_update: "_message_superseded",
                message_id,
            }
            .serialize(serializer),
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
