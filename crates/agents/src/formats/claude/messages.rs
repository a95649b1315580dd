//! The messages of the model: their ids, and which of their blocks have been passed on.

use std::collections::HashMap;

use crate::output::chunks::take_new;
use crate::output::update::{Update, numbered};

/// The messages of one attempt. Those of a subagent come between those of the agent.
#[derive(Default, Clone)]
pub(super) struct Messages {
    /// The last message of each. The key is the call that started the subagent; empty for the agent itself.
    open: HashMap<String, Message>,
    /// How often there was a message with this id: the API of a model may give the same one twice.
    ids: HashMap<String, u64>,
    /// How many messages had no id.
    unnamed: u64,
}

/// One message of the model.
#[derive(Default, Clone)]
struct Message {
    /// The id that the API of the model gave it; empty if it gave none.
    api_id: String,
    /// An id that no other message has.
    id: String,
    /// It comes in chunks.
    is_streamed: bool,
    /// All of it was void: what follows under its id is another message.
    is_over: bool,
    /// The same, but it may be completed all the same.
    is_void: bool,
    blocks: Vec<Block>,
    text: String,
    thoughts: String,
}

/// A block of a message.
#[derive(Clone)]
struct Block {
    index: u64,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Text(Kind, String),
    Call(String),
}

/// The two kinds of text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Thought,
}

/// What is void of a message that was cut short.
#[derive(Default)]
pub(super) struct Void {
    /// The `messageId`s of its chunks.
    pub(super) messages: Vec<String>,
    /// Its calls.
    pub(super) calls: Vec<String>,
}

/// So many ids are known. A model that gives an id twice does it soon.
const MAX_IDS: usize = 10_000;

impl Messages {
    /// A message begins, whose blocks come in chunks.
    pub(super) fn start(&mut self, parent: &str, api_id: &str) {
        let message = self.new_message(api_id, true);
        self.open.insert(parent.to_owned(), message);
    }

    /// A complete message, or a block of it. It may belong to the one that came in chunks.
    pub(super) fn complete(&mut self, parent: &str, api_id: &str) {
        let open = self.open.get(parent).filter(|message| !message.is_over);
        let is_known = open.is_some_and(|message| {
            let is_same = !api_id.is_empty() && message.api_id == api_id;
            is_same || (message.is_streamed && (api_id.is_empty() || message.api_id.is_empty()))
        });
        if !is_known {
            let message = self.new_message(api_id, false);
            self.open.insert(parent.to_owned(), message);
        }
    }

    fn new_message(&mut self, api_id: &str, is_streamed: bool) -> Message {
        let id = if api_id.is_empty() {
            self.unnamed = self.unnamed.saturating_add(1);
            numbered(self.unnamed)
        } else {
            if self.ids.len() >= MAX_IDS {
                self.ids.clear();
            }
            let count = self.ids.entry(api_id.to_owned()).or_default();
            *count = count.saturating_add(1);
            if *count == 1 {
                api_id.to_owned()
            } else {
                format!("{api_id}.{count}")
            }
        };
        Message {
            api_id: api_id.to_owned(),
            id,
            is_streamed,
            ..Message::default()
        }
    }

    /// A block of text begins.
    pub(super) fn start_text(&mut self, parent: &str, index: u64, kind: Kind) {
        let message = self.message(parent);
        let content = Content::Text(kind, message.text_id(kind));
        message.blocks.push(Block { index, content });
    }

    /// A call begins.
    pub(super) fn start_call(&mut self, parent: &str, index: u64, id: &str) {
        let content = Content::Call(id.to_owned());
        self.message(parent).blocks.push(Block { index, content });
    }

    /// A chunk of a block.
    pub(super) fn push_chunk(&mut self, parent: &str, kind: Kind, text: &str) -> Update {
        let message = self.message(parent);
        message.sent(kind).push_str(text);
        kind.update(text).in_message(message.current_id(kind))
    }

    /// What a complete text adds to its chunks.
    pub(super) fn push_complete(&mut self, parent: &str, kind: Kind, text: &str) -> Option<Update> {
        let message = self.message(parent);
        if message.is_void {
            return None;
        }
        if !message.is_streamed {
            let index = u64::try_from(message.blocks.len()).unwrap_or(u64::MAX);
            let content = Content::Text(kind, message.text_id(kind));
            message.blocks.push(Block { index, content });
        }
        let id = message.current_id(kind);
        let new = take_new(message.sent(kind), text)?;
        Some(kind.update(new).in_message(id))
    }

    /// The message was cut short: its blocks from this one on never become complete.
    pub(super) fn abandon(&mut self, parent: &str, from: u64) -> Void {
        let mut void = Void::default();
        let message = self.message(parent);
        for block in message.blocks.iter().filter(|block| block.index >= from) {
            match &block.content {
                Content::Text(_, id) => void.messages.push(id.clone()),
                Content::Call(id) => void.calls.push(id.clone()),
            }
        }
        message.blocks.retain(|block| block.index < from);
        message.is_over = from == 0;
        message.text.clear();
        message.thoughts.clear();
        void
    }

    /// The agent starts the message of the model over, and may complete the void one before.
    pub(super) fn start_over(&mut self, parent: &str) -> Void {
        let void = self.abandon(parent, 0);
        let message = self.message(parent);
        (message.is_over, message.is_void) = (false, true);
        void
    }

    fn message(&mut self, parent: &str) -> &mut Message {
        if !self.open.contains_key(parent) {
            self.start(parent, "");
        }
        self.open.entry(parent.to_owned()).or_default()
    }
}

impl Message {
    /// The id for a new block of text: the message's own for its first text.
    fn text_id(&self, kind: Kind) -> String {
        let is_same = |block: &&Block| matches!(&block.content, Content::Text(other, _) if *other == kind);
        let before = self.blocks.iter().filter(is_same).count();
        let id = match kind {
            Kind::Message => self.id.clone(),
            Kind::Thought => format!("{}/thought", self.id),
        };
        if before == 0 {
            id
        } else {
            format!("{id}/{}", before.saturating_add(1))
        }
    }

    /// The id of the last block of this kind.
    fn current_id(&mut self, kind: Kind) -> String {
        let last = self.blocks.iter().rev().find_map(|block| match &block.content {
            Content::Text(other, id) if *other == kind => Some(id.clone()),
            _ => None,
        });
        last.unwrap_or_else(|| {
            let id = self.text_id(kind);
            let index = self.blocks.last().map_or(0, |block| block.index.saturating_add(1));
            let content = Content::Text(kind, id.clone());
            self.blocks.push(Block { index, content });
            id
        })
    }

    /// The chunks that no complete text has yet.
    fn sent(&mut self, kind: Kind) -> &mut String {
        match kind {
            Kind::Message => &mut self.text,
            Kind::Thought => &mut self.thoughts,
        }
    }
}

impl Kind {
    fn update(self, text: &str) -> Update {
        match self {
            Self::Message => Update::message(text),
            Self::Thought => Update::thought(text),
        }
    }
}
