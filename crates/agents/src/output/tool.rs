//! Tool calls as ACP updates, for formats that have the same facts under other names.

use agent_client_protocol_schema::v1::{
    Content, ContentBlock, SessionUpdate, TextContent, ToolCall, ToolCallContent, ToolCallLocation, ToolCallStatus,
    ToolCallUpdate, ToolCallUpdateFields, ToolKind,
};
use serde_json::Value;

use super::update::Update;

/// The longest title, in characters: it is for one line on a screen. The input has all of it.
const TITLE_LIMIT: usize = 200;

/// The names under which vendors' tools take their file.
const PATH_KEYS: [&str; 6] = [
    "file_path",
    "filePath",
    "path",
    "notebook_path",
    "absolute_path",
    "target_file",
];

/// A call has started.
pub(crate) fn started(id: &str, name: &str, input: Value) -> Update {
    SessionUpdate::ToolCall(call(id, name, input).status(ToolCallStatus::InProgress)).into()
}

/// The input of a call has changed since its start: some agents know it only at the end.
pub(crate) fn input_changed(id: &str, name: &str, input: Value) -> Update {
    SessionUpdate::ToolCallUpdate(call(id, name, input).status(ToolCallStatus::InProgress).into()).into()
}

/// A call that the agent reports only after its end.
pub(crate) fn complete(id: &str, name: &str, input: Value, succeeded: bool, output: &str) -> Update {
    let call = call(id, name, input).status(status(succeeded)).content(content(output));
    SessionUpdate::ToolCall(call).into()
}

/// A call waits for permission.
pub(crate) fn pending(id: &str, name: &str, input: Value) -> ToolCallUpdate {
    call(id, name, input).status(ToolCallStatus::Pending).into()
}

/// The complete output of a call so far.
pub(crate) fn output_so_far(id: &str, output: &str) -> Update {
    let fields = ToolCallUpdateFields::new()
        .status(ToolCallStatus::InProgress)
        .content(content(output));
    SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields)).into()
}

/// A call has finished.
pub(crate) fn finished(id: &str, succeeded: bool, output: &str) -> Update {
    finished_with(id, succeeded, output, None)
}

/// A call has finished, and the agent reports its result as data, too.
pub(crate) fn finished_with(id: &str, succeeded: bool, output: &str, raw: Option<Value>) -> Update {
    let fields = ToolCallUpdateFields::new()
        .status(status(succeeded))
        .content(content(output))
        .raw_output(raw);
    SessionUpdate::ToolCallUpdate(ToolCallUpdate::new(id.to_owned(), fields)).into()
}

/// The string under a key; empty if there is none.
pub(crate) fn str_at<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The string under a key; empty if the key is missing, `None` if the value is something else. Then the line has to be
/// passed on as it is, or the value would be lost.
pub(crate) fn checked_str_at<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    match object.get(key) {
        None | Some(Value::Null) => Some(""),
        Some(value) => value.as_str(),
    }
}

/// The output of a tool as text: a string as it is, text blocks joined, everything else as JSON.
pub(crate) fn output_text(output: &Value) -> String {
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

/// The files that a call works on: one, or those of a patch.
fn paths(input: &Value) -> impl Iterator<Item = &str> {
    let one = PATH_KEYS
        .into_iter()
        .map(|key| str_at(input, key))
        .find(|path| !path.is_empty());
    let changes = input.get("changes").and_then(Value::as_array);
    let patched = changes.into_iter().flatten().map(|change| str_at(change, "path"));
    one.into_iter().chain(patched)
}

/// ACP's locations, for tools that work on files.
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

/// A command is its own title. Other titles are the tool's name and what it works on.
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

/// The kind, by words that vendors use in tool names. The first entry that matches decides.
fn kind(name: &str) -> ToolKind {
    const WORDS: [(&str, ToolKind); 22] = [
        ("planmode", ToolKind::SwitchMode),
        ("plan_mode", ToolKind::SwitchMode),
        // Before `write`: a plan is not a file.
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
    fn a_title_is_the_command_or_the_tool_and_its_object() {
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
    fn tools_for_files_have_locations() {
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
    fn the_kind_follows_from_the_tool_name() {
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
