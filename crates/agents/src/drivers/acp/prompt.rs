//! The prompt, as far as the agent can take it.

use agent_client_protocol_schema::v1::PromptCapabilities;
use serde_json::{Value, json};

use crate::output::lines::json_rpc;
use promptd_model::{BlockKind, ContentBlock};

/// The prompt of a turn, until it is sent.
pub(super) struct Prompt {
    text: String,
    blocks: Vec<ContentBlock>,
}

impl Prompt {
    pub(super) fn new(text: &str, blocks: &[ContentBlock]) -> Self {
        Self {
            text: text.to_owned(),
            blocks: blocks.to_vec(),
        }
    }

    /// Says as text what the agent does not take otherwise.
    ///
    /// # Errors
    /// If there is an image or a file that it does not take.
    pub(super) fn adapt(&mut self, able: &PromptCapabilities) -> Result<(), String> {
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let (is_able, what) = match block.kind {
                BlockKind::Image => (able.image, "images"),
                BlockKind::Resource => (able.embedded_context, "files"),
                BlockKind::Text | BlockKind::ResourceLink => (true, ""),
            };
            if !is_able && block.file().is_some() {
                return Err(format!(
                    "the agent takes no {what} in a prompt, and prompt[{index}] is one; put the file into the workspace and name it"
                ));
            }
            if !is_able {
                *block = ContentBlock::of_text(block.as_text());
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> Value {
        let (text, blocks) = (std::mem::take(&mut self.text), std::mem::take(&mut self.blocks));
        if blocks.is_empty() {
            return json!([{ "type": "text", "text": text }]);
        }
        json_rpc::value(&blocks)
    }
}
