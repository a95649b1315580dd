//! What a prompt says: a text, or content blocks as ACP has them.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Maximum number of blocks in a prompt.
const MAX_BLOCKS: usize = 100;

/// Maximum size of one image or file of a prompt, in bytes.
pub const MAX_PROMPT_FILE: usize = 20 << 20;

/// What a prompt says: a text, or ACP content blocks (<https://agentclientprotocol.com/protocol/content>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum PromptContent {
    /// A text.
    Text(String),
    /// Content blocks. Images and files are for agents whose `images` in `/v1/agents` is true.
    Blocks(Vec<ContentBlock>),
}

/// A content block. Which members it needs depends on its `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContentBlock {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: BlockKind,
    /// Of `text`: the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Of `image`: the image in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Of `image`, and optionally of `resource_link`: such as `image/png`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Of `resource_link`, and optionally of `image`: where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Of `resource_link`: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of `resource_link`: its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Of `resource_link`: what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of `resource_link`: its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of `resource`: the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<EmbeddedFile>,
    /// Whom it is for, as ACP defines it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub annotations: Option<Value>,
    /// Anything else.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Value>,
}

/// What a content block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// A text.
    Text,
    /// An image.
    Image,
    /// A file with its content.
    Resource,
    /// A file that the agent can read for itself.
    ResourceLink,
}

/// A file with its content: a text, or bytes in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmbeddedFile {
    /// Its address or path.
    pub uri: String,
    /// Such as `application/pdf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its content as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its content in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// Anything else.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Value>,
}

/// A member of a request that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} {problem}")]
pub struct InvalidMember {
    /// The member, such as `prompt[1].data`.
    pub path: String,
    /// What is wrong with it, and what would be right; never its value.
    pub problem: String,
}

impl PromptContent {
    /// Checks what the types do not: that each block has the members of its `type`, and no others.
    ///
    /// # Errors
    /// Returns the first wrong member.
    pub fn check(&self) -> Result<(), InvalidMember> {
        let Self::Blocks(blocks) = self else { return Ok(()) };
        if blocks.is_empty() || blocks.len() > MAX_BLOCKS {
            return Err(InvalidMember {
                path: "prompt".to_owned(),
                problem: format!("has {} blocks; send 1 to {MAX_BLOCKS}, or a text", blocks.len()),
            });
        }
        let mut checks = blocks.iter().enumerate();
        checks.try_for_each(|(index, block)| {
            block.check().map_err(|(member, problem)| InvalidMember {
                path: format!("prompt[{index}].{member}"),
                problem,
            })
        })
    }

    /// All of it as one text, for agents that take nothing else. Embedded texts stay where they were. Links, images and
    /// other files are only named.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Blocks(blocks) => blocks.iter().map(ContentBlock::as_text).collect::<String>().into(),
        }
    }

    /// The blocks, if there is more than texts.
    pub fn blocks(&self) -> &[ContentBlock] {
        match self {
            Self::Blocks(blocks) if blocks.iter().any(|block| block.kind != BlockKind::Text) => blocks,
            Self::Blocks(_) | Self::Text(_) => &[],
        }
    }
}

impl ContentBlock {
    /// A block of text.
    pub fn of_text(text: String) -> Self {
        Self {
            kind: BlockKind::Text,
            text: Some(text),
            data: None,
            mime_type: None,
            uri: None,
            name: None,
            title: None,
            description: None,
            size: None,
            resource: None,
            annotations: None,
            meta: None,
        }
    }

    /// The block as text.
    pub fn as_text(&self) -> String {
        let or_empty = |member: &Option<String>| member.clone().unwrap_or_default();
        match (self.kind, &self.resource) {
            (BlockKind::Text, _) => or_empty(&self.text),
            (BlockKind::ResourceLink, _) => format!("[@{}]({})", or_empty(&self.name), or_empty(&self.uri)),
            (
                BlockKind::Resource,
                Some(EmbeddedFile {
                    uri, text: Some(text), ..
                }),
            ) => {
                format!("\n<context ref=\"{uri}\">\n{text}\n</context>\n")
            }
            (BlockKind::Resource, file) => format!("[file {}]", file.as_ref().map_or("", |file| &file.uri)),
            (BlockKind::Image, _) => format!(
                "[image {}]",
                self.uri.as_ref().or(self.mime_type.as_ref()).map_or("", |name| name)
            ),
        }
    }

    /// Its bytes in base64 and their type, if it is more than text.
    pub fn file(&self) -> Option<(&str, &str)> {
        const UNKNOWN: &str = "application/octet-stream";
        match self.kind {
            BlockKind::Image => Some((self.data.as_deref()?, self.mime_type.as_deref().unwrap_or(UNKNOWN))),
            BlockKind::Resource => {
                let file = self.resource.as_ref()?;
                Some((file.blob.as_deref()?, file.mime_type.as_deref().unwrap_or(UNKNOWN)))
            }
            BlockKind::Text | BlockKind::ResourceLink => None,
        }
    }

    /// The wrong member, and what is wrong with it.
    fn check(&self) -> Result<(), (String, String)> {
        let (needed, allowed): (&[&str], &[&str]) = match self.kind {
            BlockKind::Text => (&["text"], &[]),
            BlockKind::Image => (&["data", "mimeType"], &["uri"]),
            BlockKind::Resource => (&["resource"], &[]),
            BlockKind::ResourceLink => (&["name", "uri"], &["mimeType", "title", "description", "size"]),
        };
        let members = [
            ("text", self.text.is_some()),
            ("data", self.data.is_some()),
            ("mimeType", self.mime_type.is_some()),
            ("uri", self.uri.is_some()),
            ("name", self.name.is_some()),
            ("title", self.title.is_some()),
            ("description", self.description.is_some()),
            ("size", self.size.is_some()),
            ("resource", self.resource.is_some()),
        ];
        for (member, is_given) in members {
            let kind = self.kind.name();
            if needed.contains(&member) && !is_given {
                return Err((
                    member.to_owned(),
                    format!("is missing; a block of type {kind:?} needs it"),
                ));
            }
            if is_given && !needed.contains(&member) && !allowed.contains(&member) {
                return Err((
                    member.to_owned(),
                    format!("is no member of a block of type {kind:?}; leave it out"),
                ));
            }
        }
        if let Some(mime) = self
            .mime_type
            .as_ref()
            .filter(|mime| self.kind == BlockKind::Image && !is_image(mime))
        {
            let problem = format!(
                "is {:?}, which is no type of images; such as \"image/png\"",
                short(mime)
            );
            return Err(("mimeType".to_owned(), problem));
        }
        if let Some(data) = &self.data {
            check_base64(data).map_err(|problem| ("data".to_owned(), problem))?;
        }
        if let Some(file) = &self.resource {
            file.check()
                .map_err(|(member, problem)| (format!("resource.{member}"), problem))?;
        }
        Ok(())
    }
}

impl EmbeddedFile {
    fn check(&self) -> Result<(), (&'static str, String)> {
        match (&self.text, &self.blob) {
            (Some(_), None) => Ok(()),
            (None, Some(blob)) => check_base64(blob).map_err(|problem| ("blob", problem)),
            (Some(_), Some(_)) => Err(("blob", "stands beside text; a file has one of them".to_owned())),
            (None, None) => Err((
                "text",
                "is missing; a file has its content in text or, in base64, in blob".to_owned(),
            )),
        }
    }
}

impl BlockKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Resource => "resource",
            Self::ResourceLink => "resource_link",
        }
    }
}

fn is_image(mime: &str) -> bool {
    mime.strip_prefix("image/").is_some_and(|kind| !kind.is_empty())
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn check_base64(text: &str) -> Result<(), String> {
    let bytes = BASE64
        .decode(text)
        .map_err(|error| format!("is not base64 with padding ({error})"))?;
    match bytes.len() {
        0 => Err("is empty".to_owned()),
        length if length > MAX_PROMPT_FILE => Err(format!(
            "has {length} bytes, and a block can have {MAX_PROMPT_FILE}; put the file into the workspace and name it"
        )),
        _ => Ok(()),
    }
}

/// Not derived: the error of an untagged enum names no member.
impl<'de> Deserialize<'de> for PromptContent {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        struct Content;
        impl<'de> Visitor<'de> for Content {
            type Value = PromptContent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of content blocks")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PromptContent, E> {
                Ok(PromptContent::Text(text.to_owned()))
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<PromptContent, E> {
                Ok(PromptContent::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PromptContent, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = list.next_element()? {
                    if blocks.len() >= MAX_BLOCKS {
                        return Err(A::Error::custom(format!("more than {MAX_BLOCKS} blocks; send fewer")));
                    }
                    blocks.push(block);
                }
                Ok(PromptContent::Blocks(blocks))
            }
        }
        value.deserialize_any(Content)
    }
}

impl From<String> for PromptContent {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(blocks: Value) -> String {
        let content: PromptContent = serde_json::from_value(blocks).unwrap();
        content.check().unwrap_err().path
    }

    #[test]
    fn wrong_member_of_a_block_is_named() {
        let text = json!({ "type": "text", "text": "x" });
        assert_eq!(wrong(json!([])), "prompt");
        assert_eq!(wrong(json!([text, { "type": "text" }])), "prompt[1].text");
        for (member, block) in [
            ("mimeType", json!({ "type": "image", "data": "aGk=" })),
            (
                "mimeType",
                json!({ "type": "image", "data": "aGk=", "mimeType": "text/plain" }),
            ),
            (
                "data",
                json!({ "type": "image", "data": "a b", "mimeType": "image/png" }),
            ),
            ("data", json!({ "type": "image", "data": "", "mimeType": "image/png" })),
            (
                "text",
                json!({ "type": "image", "data": "aGk=", "mimeType": "image/png", "text": "x" }),
            ),
            ("name", json!({ "type": "resource_link", "uri": "file:///a" })),
            ("resource", json!({ "type": "resource" })),
            (
                "resource.text",
                json!({ "type": "resource", "resource": { "uri": "a" } }),
            ),
            (
                "resource.blob",
                json!({ "type": "resource", "resource": { "uri": "a", "blob": "?" } }),
            ),
            (
                "resource.blob",
                json!({ "type": "resource", "resource": { "uri": "a", "blob": "aGk=", "text": "" } }),
            ),
        ] {
            assert_eq!(wrong(json!([block])), format!("prompt[0].{member}"));
        }
        let large = "A".repeat(MAX_PROMPT_FILE / 3 * 4 + 8);
        assert_eq!(
            wrong(json!([{ "type": "image", "data": large, "mimeType": "image/png" }])),
            "prompt[0].data"
        );
    }

    #[test]
    fn blocks_that_are_texts_are_one_text() {
        let parts = |blocks: Value| {
            let content = serde_json::from_value::<PromptContent>(blocks).unwrap();
            (content.text().into_owned(), content.blocks().to_vec())
        };
        assert_eq!(parts(json!("hi")), ("hi".to_owned(), Vec::new()));
        let two = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
        assert_eq!(parts(two), ("ab".to_owned(), Vec::new()));
        let (text, blocks) = parts(json!([
            { "type": "text", "text": "look at " },
            { "type": "resource_link", "name": "a.rs", "uri": "file:///w/a.rs" },
            { "type": "resource", "resource": { "uri": "file:///w/b", "text": "B" } },
            { "type": "image", "data": "aGk=", "mimeType": "image/png" },
        ]));
        assert_eq!(
            text,
            "look at [@a.rs](file:///w/a.rs)\n<context ref=\"file:///w/b\">\nB\n</context>\n[image image/png]"
        );
        let files: Vec<_> = blocks.iter().filter_map(ContentBlock::file).collect();
        assert_eq!(files, [("aGk=", "image/png")]);
    }
}
