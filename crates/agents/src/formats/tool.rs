//! Calls of tools in ACP's words, for formats that have the same facts under other names.

use agent_client_protocol_schema::v1::{
    Content, ContentBlock, SessionUpdate, TextContent, ToolCall, ToolCallContent, ToolCallLocation, ToolCallStatus,
    ToolCallUpdate, ToolCallUpdateFields, ToolKind,
};
use serde_json::Value;

use super::super::Update;

/// The longest title, in characters: it is for one line on a screen, and the whole stands in the input.
const TITLE_LIMIT: usize = 200;

/// Where vendors' tools have the file that they work on.
const PATHS: [&str; 6] = [
    "file_path",
    "filePath",
    "path",
    "notebook_path",
    "absolute_path",
    "target_file",
];

/// A call begins.
pub(super) fn started(id: &str, name: &str, input: Value) -> Update {
    SessionUpdate::ToolCall(call(id, name, input).status(ToolCallStatus::InProgress)).into()
}

/// A call's input is another than it was told with: some agents know it only at the end.
pub(super) fn corrected(id: &str, name: &str, input: Value) -> Update {
    SessionUpdate::ToolCallUpdate(call(id, name, input).status(ToolCallStatus::InProgress).into()).into()
}

/// A call is told only when it is over.
pub(super) fn whole(id: &str, name: &str, input: Value, succeeded: bool, output: &str) -> Update {
    let call = call(id, name, input).status(status(succeeded)).content(content(output));
    SessionUpdate::ToolCall(call).into()
}

/// A call waits for somebody's leave.
pub(crate) fn asked(id: &str, name: &str, input: Value) -> ToolCallUpdate {
    call(id, name, input).status(ToolCallStatus::Pending).into()
}

/// All that a call has put out so far.
pub(super) fn output_so_far(id: &str, output: &str) -> Update {
    let fields = ToolCallUpdateFields::new()
        .status(ToolCallStatus::InProgress)
        .content(content(output));
    SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields)).into()
}

/// A call ends.
pub(super) fn ended(id: &str, succeeded: bool, output: &str) -> Update {
    ended_with(id, succeeded, output, None)
}

/// A call ends, and the agent tells its result as data, too.
pub(super) fn ended_with(id: &str, succeeded: bool, output: &str, raw: Option<Value>) -> Update {
    let fields = ToolCallUpdateFields::new()
        .status(status(succeeded))
        .content(content(output))
        .raw_output(raw);
    SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields)).into()
}

/// A text under a key; empty where there is none.
pub(crate) fn string<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The same where the text is to be told: `None` where something else stands there, so that it is not lost.
pub(super) fn text_at<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    match object.get(key) {
        None | Some(Value::Null) => Some(""),
        Some(value) => value.as_str(),
    }
}

/// What a tool put out, as a text: a string as it is, blocks of text joined, all else as JSON.
pub(super) fn text(output: &Value) -> String {
    match output {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(blocks)
            if blocks
                .iter()
                .all(|block| block.get("text").is_some_and(Value::is_string)) =>
        {
            let texts = blocks.iter().filter_map(|block| block.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    }
}

fn call(id: &str, name: &str, input: Value) -> ToolCall {
    let kind = kind(name);
    ToolCall::new(id.to_owned(), title(name, &input))
        .name(name.to_owned())
        .kind(kind)
        .locations(locations(kind, &input))
        .raw_input(input)
}

/// What a call works on: one file, or those of a patch.
fn paths(input: &Value) -> impl Iterator<Item = &str> {
    let one = PATHS
        .into_iter()
        .map(|key| string(input, key))
        .find(|path| !path.is_empty());
    let changes = input.get("changes").and_then(Value::as_array);
    let patched = changes.into_iter().flatten().map(|change| string(change, "path"));
    one.into_iter().chain(patched)
}

/// The files that a tool for files works on.
fn locations(kind: ToolKind, input: &Value) -> Vec<ToolCallLocation> {
    if !matches!(
        kind,
        ToolKind::Read | ToolKind::Edit | ToolKind::Delete | ToolKind::Move
    ) {
        return Vec::new();
    }
    let line = input.get("offset").and_then(Value::as_u64);
    let line = line
        .filter(|_| kind == ToolKind::Read)
        .and_then(|line| line.try_into().ok());
    paths(input)
        .map(|path| ToolCallLocation::new(path).line(line))
        .collect()
}

fn status(succeeded: bool) -> ToolCallStatus {
    if succeeded {
        ToolCallStatus::Completed
    } else {
        ToolCallStatus::Failed
    }
}

fn content(output: &str) -> Vec<ToolCallContent> {
    if output.is_empty() {
        return Vec::new();
    }
    vec![ToolCallContent::Content(Content::new(ContentBlock::Text(
        TextContent::new(output),
    )))]
}

/// A command speaks for itself; other tools are named with what they work on.
fn title(name: &str, input: &Value) -> String {
    let text = |key: &str| input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let title = match text("command") {
        Some(command) => command.to_owned(),
        None => paths(input)
            .map(Some)
            .chain(["pattern", "query", "url", "subject", "description", "skill"].map(text))
            .find_map(|object| object)
            .map_or_else(|| name.to_owned(), |object| format!("{name} {object}")),
    };
    title.lines().next().unwrap_or(name).chars().take(TITLE_LIMIT).collect()
}

/// The kind by the words that vendors' names of tools share. The first word that is found decides.
fn kind(name: &str) -> ToolKind {
    const WORDS: [(&str, ToolKind); 22] = [
        ("planmode", ToolKind::SwitchMode),
        ("plan_mode", ToolKind::SwitchMode),
        // Before `write`: a plan is no file.
        ("todo", ToolKind::Think),
        ("fetch", ToolKind::Fetch),
        ("web", ToolKind::Fetch),
        ("search", ToolKind::Search),
        ("grep", ToolKind::Search),
        ("glob", ToolKind::Search),
        ("find", ToolKind::Search),
        ("bash", ToolKind::Execute),
        ("shell", ToolKind::Execute),
        ("exec", ToolKind::Execute),
        ("delete", ToolKind::Delete),
        ("move", ToolKind::Move),
        ("edit", ToolKind::Edit),
        ("write", ToolKind::Edit),
        ("patch", ToolKind::Edit),
        ("read", ToolKind::Read),
        ("view", ToolKind::Read),
        ("replace", ToolKind::Edit),
        ("think", ToolKind::Think),
        ("task", ToolKind::Think),
    ];
    let name = name.to_lowercase();
    let found = WORDS.iter().find(|(word, _)| name.contains(word));
    match (found, name.as_str()) {
        (Some((_, kind)), _) => *kind,
        (None, "ls" | "list" | "list_directory") => ToolKind::Read,
        (None, "create" | "create_file") => ToolKind::Edit,
        (None, "monitor") => ToolKind::Execute,
        (None, "agent" | "oracle") => ToolKind::Think,
        (None, _) => ToolKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_titled_by_its_command_or_by_its_tool_and_object() {
        let (long, limit) = ("x".repeat(TITLE_LIMIT + 1), "x".repeat(TITLE_LIMIT));
        let cases = [
            ("bash", json!({"command": "ls -l\nrm x", "description": "d"}), "ls -l"),
            ("Read", json!({"file_path": "/a"}), "Read /a"),
            ("todo", json!({"todos": []}), "todo"),
            ("todo", Value::Null, "todo"),
            ("bash", json!({"command": ""}), "bash"),
            ("bash", json!({ "command": long }), &limit),
        ];
        for (name, input, expected) in cases {
            assert_eq!(title(name, &input), expected);
        }
    }

    #[test]
    fn a_tool_for_files_says_where_it_works() {
        let input = json!({"file_path": "/a", "offset": 7, "path": "/b"});
        assert_eq!(locations(ToolKind::Read, &input), [ToolCallLocation::new("/a").line(7)]);
        assert_eq!(locations(ToolKind::Edit, &input), [ToolCallLocation::new("/a")]);
        let patch = json!({"changes": [{"path": "/c", "kind": "add"}, {"path": "/d", "kind": "delete"}]});
        let both = [ToolCallLocation::new("/c"), ToolCallLocation::new("/d")];
        assert_eq!(locations(ToolKind::Edit, &patch), both);
        assert_eq!(title("apply_patch", &patch), "apply_patch /c");
        assert!(locations(ToolKind::Execute, &input).is_empty());
        assert!(locations(ToolKind::Read, &json!({"file_path": ""})).is_empty());
        assert!(locations(ToolKind::Read, &json!({"file_path": 3, "offset": -1})).is_empty());
    }

    #[test]
    fn a_tools_output_is_a_text_whatever_its_form() {
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
            assert_eq!(text(&output), expected);
        }
    }

    #[test]
    fn the_kind_follows_from_the_tools_name() {
        let cases = [
            ("run_shell_command", ToolKind::Execute),
            ("Execute", ToolKind::Execute),
            ("read_bash", ToolKind::Execute),
            ("grep_search", ToolKind::Search),
            ("WebSearch", ToolKind::Fetch),
            ("FetchUrl", ToolKind::Fetch),
            ("read_file", ToolKind::Read),
            ("LS", ToolKind::Read),
            ("ApplyPatch", ToolKind::Edit),
            ("Create", ToolKind::Edit),
            ("docs_lookup", ToolKind::Other),
            ("TodoWrite", ToolKind::Think),
            ("TaskUpdate", ToolKind::Think),
            ("ExitPlanMode", ToolKind::SwitchMode),
            ("replace", ToolKind::Edit),
        ];
        for (name, expected) in cases {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
