//! What a tool call is, from its name and its input: title, kind, files and their changes, and its output as content.
//! Formats have the same facts under other names.

use agent_client_protocol_schema::v1::{
    Content, ContentBlock, Diff, ImageContent, TextContent, ToolCall, ToolCallContent, ToolCallLocation,
    ToolCallStatus, ToolCallUpdate, ToolKind,
};
use serde_json::Value;

use super::edit::{self, Change, paths};
use super::kind::kind;
use super::title::title;

pub(crate) use super::input::{checked_str_at, str_at};

/// A call waits for permission.
pub(crate) fn pending(id: &str, name: &str, input: Value) -> ToolCallUpdate {
    call(id, name, input, None).status(ToolCallStatus::Pending).into()
}

/// A call with everything that its input says. Paths in its title are relative to the working directory.
pub(super) fn call(id: &str, name: &str, input: Value, cwd: Option<&str>) -> ToolCall {
    let kind = kind(name);
    let changes = changes(kind, &input);
    ToolCall::new(id.to_owned(), title(name, kind, &input, cwd))
        .name(name.to_owned())
        .kind(kind)
        .content(changes.iter().map(diff).collect::<Vec<_>>())
        .locations(locations(kind, &input))
        .raw_input(input)
}

/// What a call changes in files.
pub(super) fn changes(kind: ToolKind, input: &Value) -> Vec<Change> {
    match kind {
        ToolKind::Edit | ToolKind::Delete | ToolKind::Move => edit::changes(input),
        _ => Vec::new(),
    }
}

/// A change as the content of a call.
pub(super) fn diff(change: &Change) -> ToolCallContent {
    let diff = Diff::new(change.path.as_str(), change.new.as_str());
    ToolCallContent::Diff(diff.old_text(change.old.clone()))
}

/// The output of a tool as text: a string as it is, text blocks joined, everything else as JSON.
pub(crate) fn output_text(output: &Value) -> String {
    match output {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(blocks) if blocks.iter().all(is_text) => {
            let texts = blocks.iter().filter_map(|block| block.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

fn is_text(block: &Value) -> bool {
    block.get("text").is_some_and(Value::is_string)
}

/// The output of a tool as content: text, and images as images.
pub(crate) fn output_content(output: &Value) -> Vec<ToolCallContent> {
    let blocks = match output {
        Value::Array(blocks) if !blocks.iter().all(is_text) => blocks,
        other => return text_content(&output_text(other)),
    };
    let blocks = blocks.iter().map(|block| {
        let known = image(block).or_else(|| serde_json::from_value(block.clone()).ok());
        known.unwrap_or_else(|| ContentBlock::Text(TextContent::new(output_text(block))))
    });
    blocks
        .map(|block| ToolCallContent::Content(Content::new(block)))
        .collect()
}

/// Whether there is an image in it.
pub(crate) fn has_image(content: &[ToolCallContent]) -> bool {
    content.iter().any(|content| {
        matches!(content, ToolCallContent::Content(content) if matches!(content.content, ContentBlock::Image(_)))
    })
}

/// An image in the shape of claude's or of codex's API. Others have the shape of MCP and ACP.
fn image(block: &Value) -> Option<ContentBlock> {
    if let Some(source) = block.get("source").filter(|_| str_at(block, "type") == "image") {
        let (data, kind) = (source.get("data")?.as_str()?, source.get("media_type")?.as_str()?);
        return Some(ContentBlock::Image(ImageContent::new(data, kind)));
    }
    let url = block.get("image_url").or_else(|| block.get("imageUrl"))?;
    let url = url.as_str().or_else(|| url.get("url")?.as_str())?;
    let (kind, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some(ContentBlock::Image(ImageContent::new(data, kind)))
}

/// A text as the content of a call.
pub(crate) fn text_content(text: &str) -> Vec<ToolCallContent> {
    if text.is_empty() {
        return Vec::new();
    }
    vec![ToolCallContent::Content(Content::new(ContentBlock::Text(
        TextContent::new(text),
    )))]
}

/// ACP's locations, for tools that work on files.
fn locations(kind: ToolKind, input: &Value) -> Vec<ToolCallLocation> {
    if !matches!(
        kind,
        ToolKind::Read | ToolKind::Edit | ToolKind::Delete | ToolKind::Move
    ) {
        return Vec::new();
    }
    let changes = changes(kind, input);
    let located = changes.iter().filter(|change| change.line.is_some());
    let located: Vec<_> = located.map(location).collect();
    if !located.is_empty() {
        return located;
    }
    let line = (kind == ToolKind::Read).then(|| first_line(input)).flatten();
    paths(input)
        .map(|path| ToolCallLocation::new(path).line(line))
        .collect()
}

/// Where a change is.
pub(super) fn location(change: &Change) -> ToolCallLocation {
    ToolCallLocation::new(change.path.as_str()).line(change.line)
}

/// The first line that a tool reads. Vendors count from 0 or from 1; ACP counts from 1.
fn first_line(input: &Value) -> Option<u32> {
    let range = input.get("view_range").and_then(|range| range.get(0));
    let keys = ["offset", "start_line", "startLine"];
    let line = keys.iter().find_map(|key| input.get(*key)).or(range)?.as_u64()?;
    u32::try_from(line).ok().map(|line| line.max(1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_for_files_have_locations() {
        let input = json!({"file_path": "/a", "offset": 7, "path": "/b"});
        assert_eq!(locations(ToolKind::Read, &input), [ToolCallLocation::new("/a").line(7)]);
        assert_eq!(locations(ToolKind::Edit, &input), [ToolCallLocation::new("/a")]);
        let range = json!({"path": "/a", "view_range": [3, 9]});
        assert_eq!(locations(ToolKind::Read, &range), [ToolCallLocation::new("/a").line(3)]);
        let patch = json!({"changes": [{"path": "/c", "kind": "add"}, {"path": "/d", "kind": "delete"}]});
        let both = [ToolCallLocation::new("/c"), ToolCallLocation::new("/d")];
        assert_eq!(locations(ToolKind::Edit, &patch), both);
        let hunk = json!({"changes": [{"path": "/c", "kind": {"type": "update"}, "diff": "@@ -1 +4 @@\n-a\n+b\n"}]});
        assert_eq!(locations(ToolKind::Edit, &hunk), [ToolCallLocation::new("/c").line(4)]);
        assert!(locations(ToolKind::Execute, &input).is_empty());
        assert!(locations(ToolKind::Read, &json!({"file_path": ""})).is_empty());
        assert!(locations(ToolKind::Read, &json!({"file_path": 3, "offset": -1})).is_empty());
    }

    #[test]
    fn tool_output_of_any_shape_is_text() {
        let cases = [
            (Value::Null, ""),
            (json!("a"), "a"),
            (
                json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
                "a\nb",
            ),
            (json!([]), ""),
            (json!([{"type": "image"}]), r#"[{"type":"image"}]"#),
            (json!({"a": 1}), r#"{"a":1}"#),
        ];
        for (output, expected) in cases {
            assert_eq!(output_text(&output), expected);
        }
    }

    #[test]
    fn images_in_tool_output_are_images() {
        let expected = json!([
            {"type": "content", "content": {"type": "text", "text": "a"}},
            {"type": "content", "content": {"type": "image", "data": "AA==", "mimeType": "image/png"}},
        ]);
        for image in [
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
            json!({"type": "image", "data": "AA==", "mimeType": "image/png"}),
            json!({"type": "input_image", "image_url": "data:image/png;base64,AA=="}),
        ] {
            let content = output_content(&json!([{"type": "text", "text": "a"}, image]));
            assert!(has_image(&content), "{image}");
            assert_eq!(serde_json::to_value(content).unwrap(), expected, "{image}");
        }
        let other = output_content(&json!([{"type": "image"}, {"type": "new", "x": 1}]));
        let text = serde_json::to_value(other).unwrap();
        assert_eq!(text[1]["content"]["text"], r#"{"type":"new","x":1}"#);
    }
}
