//! What a tool call changes in files, from its input: the same for the shapes of all vendors.

use serde_json::Value;

use super::input::{PATH_KEYS, str_at};

/// One changed place of a file, or a whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: String,
    /// The text before; none for a new file.
    pub(crate) old: Option<String>,
    pub(crate) new: String,
    /// The line where the new text begins, if it is known.
    pub(crate) line: Option<u32>,
}

/// The names under which vendors' tools take the text to replace, and the text for it.
const REPLACED: [(&str, &str); 4] = [
    ("old_string", "new_string"),
    ("oldString", "newString"),
    ("old_str", "new_str"),
    ("oldText", "newText"),
];

/// The names under which they take a whole file.
const WHOLE: [&str; 4] = ["content", "file_text", "file_content", "contents"];

/// The names under which they take a patch.
const PATCHES: [&str; 4] = ["input", "patch", "patchText", "patch_text"];

/// What a call with this input changes.
pub(crate) fn changes(input: &Value) -> Vec<Change> {
    let path = PATH_KEYS
        .into_iter()
        .map(|key| str_at(input, key))
        .find(|path| !path.is_empty());
    if let Some(path) = path {
        if let Some(change) = replaced(path, input) {
            return vec![change];
        }
        let many = ["edits", "changes"].iter().find_map(|key| input.get(*key)?.as_array());
        if let Some(many) = many {
            return many.iter().filter_map(|edit| replaced(path, edit)).collect();
        }
        let whole = WHOLE.iter().find_map(|key| input.get(*key)?.as_str());
        return whole.map(|new| change(path, None, new)).into_iter().collect();
    }
    if let Some(files) = input.get("changes") {
        return of_files(files);
    }
    let patch = PATCHES.iter().find_map(|key| input.get(*key)?.as_str());
    patch.or(input.as_str()).map_or_else(Vec::new, patched)
}

fn change(path: &str, old: Option<&str>, new: &str) -> Change {
    Change {
        path: path.to_owned(),
        old: old.map(str::to_owned),
        new: new.to_owned(),
        line: None,
    }
}

fn replaced(path: &str, edit: &Value) -> Option<Change> {
    let text = |key: &str| edit.get(key).and_then(Value::as_str);
    let (old, new) = REPLACED.iter().find_map(|(old, new)| {
        let (old, new) = (text(old), text(new));
        (old.is_some() || new.is_some()).then_some((old, new))
    })?;
    Some(change(path, old.filter(|old| !old.is_empty()), new.unwrap_or_default()))
}

/// Codex's list of changed files, or the same by path.
fn of_files(files: &Value) -> Vec<Change> {
    let one = |path: &str, file: &Value| {
        let kind = file.get("kind").unwrap_or(file);
        let kind = kind.as_str().unwrap_or_else(|| str_at(kind, "type"));
        let diff = ["diff", "unified_diff", "content"]
            .iter()
            .find_map(|key| file.get(*key)?.as_str());
        match (diff, kind) {
            (None, _) => Vec::new(),
            (Some(text), _) if text.lines().any(|line| line.starts_with("@@")) => hunks(path, text),
            (Some(text), "delete") => vec![change(path, Some(text), "")],
            (Some(text), _) => vec![change(path, None, text)],
        }
    };
    match files {
        Value::Array(files) => files.iter().flat_map(|file| one(str_at(file, "path"), file)).collect(),
        Value::Object(files) => files.iter().flat_map(|(path, file)| one(path, file)).collect(),
        _ => Vec::new(),
    }
}

/// The hunks of a unified diff of one file.
pub(crate) fn hunks(path: &str, diff: &str) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    for line in diff.lines() {
        if let Some(at) = line.strip_prefix("@@") {
            let mut hunk = change(path, Some(""), "");
            hunk.line = new_line(at);
            found.push(hunk);
        } else if let Some(hunk) = found.last_mut() {
            push_line(hunk, line);
        }
    }
    found
}

/// The number in `-1,2 +3,4 @@`.
fn new_line(at: &str) -> Option<u32> {
    let (_, new) = at.split_once('+')?;
    new.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Adds a line of a hunk to the texts before and after.
pub(crate) fn push_line(hunk: &mut Change, line: &str) {
    let mut characters = line.chars();
    let (sign, text) = (characters.next().unwrap_or(' '), characters.as_str());
    let push = |to: &mut String| {
        to.push_str(text);
        to.push('\n');
    };
    match sign {
        '+' => push(&mut hunk.new),
        '-' => push(hunk.old.get_or_insert_default()),
        ' ' => {
            push(&mut hunk.new);
            push(hunk.old.get_or_insert_default());
        }
        // "\ No newline at end of file"
        _ => {}
    }
}

/// The changes of a patch as codex's models write it: `*** Begin Patch`, then sections of files.
fn patched(patch: &str) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    let mut file: Option<(&str, bool)> = None;
    let mut starts = true;
    for line in patch.lines() {
        let section = |prefix: &str| line.strip_prefix(prefix).map(str::trim);
        if let Some(path) = section("*** Add File:") {
            (file, starts) = (Some((path, true)), true);
        } else if let Some(path) = section("*** Update File:") {
            (file, starts) = (Some((path, false)), true);
        } else if line.starts_with("*** ") {
            if !line.starts_with("*** Move to:") {
                file = None;
            }
        } else if line.starts_with("@@") {
            starts = true;
        } else if let Some((path, is_new)) = file {
            if std::mem::take(&mut starts) {
                found.push(change(path, (!is_new).then_some(""), ""));
            }
            if let Some(hunk) = found.last_mut() {
                push_line(hunk, line);
            }
        }
    }
    found
}

/// The files that a call works on: one, or those of a patch.
pub(super) fn paths(input: &Value) -> impl Iterator<Item = &str> {
    let one = PATH_KEYS
        .into_iter()
        .map(|key| str_at(input, key))
        .find(|path| !path.is_empty());
    let changes = input.get("changes").filter(|_| one.is_none());
    let listed = changes.and_then(Value::as_array).into_iter().flatten();
    let named = changes
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|files| files.keys());
    let patched = one.is_none().then(|| patched_files(input)).into_iter().flatten();
    one.into_iter()
        .chain(listed.map(|change| str_at(change, "path")))
        .chain(named.map(String::as_str))
        .chain(patched)
        .filter(|path| !path.is_empty())
}

/// The files of such a patch, in order.
fn patched_files(input: &Value) -> impl Iterator<Item = &str> {
    let patch = PATCHES.iter().find_map(|key| input.get(*key)?.as_str());
    let lines = patch.or(input.as_str()).unwrap_or_default().lines();
    lines.filter_map(|line| {
        let file = line.strip_prefix("*** ")?;
        let (what, path) = file.split_once(" File: ")?;
        matches!(what, "Add" | "Update" | "Delete").then_some(path.trim())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(input: &Value) -> Value {
        let all = changes(input).into_iter();
        all.map(|change| json!([change.path, change.old, change.new, change.line]))
            .collect()
    }

    #[test]
    fn an_edit_has_the_same_change_in_the_words_of_each_vendor() {
        let one = json!([["/a", "x", "y", null]]);
        for input in [
            json!({"file_path": "/a", "old_string": "x", "new_string": "y", "replace_all": false}),
            json!({"filePath": "/a", "oldString": "x", "newString": "y"}),
            json!({"path": "/a", "old_str": "x", "new_str": "y", "command": "str_replace"}),
            json!({"path": "/a", "oldText": "x", "newText": "y"}),
            json!({"path": "/a", "edits": [{"oldText": "x", "newText": "y"}]}),
            json!({"file_path": "/a", "edits": [{"old_string": "x", "new_string": "y"}, 3]}),
            json!({"file_path": "/a", "changes": [{"old_str": "x", "new_str": "y"}]}),
        ] {
            assert_eq!(shown(&input), one, "{input}");
        }
        for input in [
            json!({"file_path": "/a", "content": "all\n"}),
            json!({"path": "/a", "file_text": "all\n", "command": "create"}),
            json!({"filePath": "/a", "content": "all\n"}),
        ] {
            assert_eq!(shown(&input), json!([["/a", null, "all\n", null]]), "{input}");
        }
    }

    #[test]
    fn a_patch_has_a_change_for_each_hunk() {
        let hunk = "@@ -3,2 +3,2 @@ fn main()\n-one\n+1\n two\n\\ No newline at end of file";
        let codex = json!({"changes": [
            {"path": "/a", "kind": {"type": "update", "move_path": null}, "diff": hunk},
            {"path": "/b", "kind": {"type": "add"}, "diff": "new\n"},
            {"path": "/c", "kind": {"type": "delete"}, "diff": "gone\n"},
            {"path": "/d", "kind": "update"},
        ]});
        let expected = json!([
            ["/a", "one\ntwo\n", "1\ntwo\n", 3],
            ["/b", null, "new\n", null],
            ["/c", "gone\n", "", null],
        ]);
        assert_eq!(shown(&codex), expected);
        let by_path = json!({"changes": {"/a": {"type": "update", "unified_diff": hunk}, "/b": {"type": "add", "content": "new\n"}}});
        assert_eq!(
            shown(&by_path),
            json!([["/a", "one\ntwo\n", "1\ntwo\n", 3], ["/b", null, "new\n", null]])
        );
        let patch = "*** Begin Patch\n*** Update File: a.rs\n*** Move to: b.rs\n@@ fn x\n-one\n+1\n@@\n two\n+3\n\
                     *** Add File: c.rs\n+new\n*** Delete File: d.rs\n*** End Patch\n";
        let input = json!({ "input": patch });
        let expected = json!([
            ["a.rs", "one\n", "1\n", null],
            ["a.rs", "two\n", "two\n3\n", null],
            ["c.rs", null, "new\n", null],
        ]);
        assert_eq!(shown(&input), expected);
        let files: Vec<&str> = patched_files(&input).collect();
        assert_eq!(files, ["a.rs", "c.rs", "d.rs"]);
    }

    #[test]
    fn any_other_input_changes_nothing() {
        for input in [
            json!(null),
            json!("text"),
            json!({"command": "ls"}),
            json!({"changes": 3}),
            json!({"file_path": "/a"}),
            json!({"file_path": "/a", "edits": [[], null]}),
        ] {
            assert_eq!(shown(&input), json!([]), "{input}");
        }
    }
}
