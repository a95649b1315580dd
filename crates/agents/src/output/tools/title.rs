//! The title of a tool call: what it does, in a few words for one line on a screen. The input has all of it.

use agent_client_protocol_schema::v1::ToolKind;
use serde_json::Value;

use super::edit::{self, paths};

/// The longest title, in characters.
const LIMIT: usize = 200;

/// The title of a call. Paths in the working directory are relative to it.
pub(super) fn title(name: &str, kind: ToolKind, input: &Value, cwd: Option<&str>) -> String {
    let title = described(name, kind, input, cwd).unwrap_or_else(|| name.to_owned());
    title.lines().next().unwrap_or(name).chars().take(LIMIT).collect()
}

fn described(name: &str, kind: ToolKind, input: &Value, cwd: Option<&str>) -> Option<String> {
    let text = |key: &str| input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let first = |keys: &[&str]| keys.iter().find_map(|key| text(key));
    let files = files(input, cwd);
    let place = files.as_ref().map_or_else(String::new, |files| format!(" in {files}"));
    let what = match kind {
        ToolKind::Execute => return command(input).map(|command| run(&command)),
        ToolKind::Read if is_list(name) => format!("List {}", files?),
        ToolKind::Read => format!("Read {}{}", files?, lines(input)),
        ToolKind::Edit => format!("{} {}", if is_whole(input) { "Write" } else { "Edit" }, files?),
        ToolKind::Delete => format!("Delete {}", files?),
        ToolKind::Move => format!(
            "Move {}",
            files.or_else(|| first(&["source", "from"]).map(str::to_owned))?
        ),
        ToolKind::Search => match first(&["pattern", "query", "glob", "regex"]) {
            Some(pattern) => format!("Search for {}{place}", code(pattern)),
            None => return other(name, input, files),
        },
        ToolKind::Fetch => match (first(&["url", "uri"]), first(&["query", "search_term"])) {
            (Some(url), _) => format!("Fetch {url}"),
            (None, Some(query)) => format!("Search the web for {}", code(query)),
            (None, None) => return None,
        },
        _ => return other(name, input, files),
    };
    Some(what)
}

/// Other tools have no verb of their own: their name, and what they work on.
fn other(name: &str, input: &Value, files: Option<String>) -> Option<String> {
    if let Some((server, tool)) = name.strip_prefix("mcp__").and_then(|name| name.split_once("__")) {
        return Some(format!("{server}: {tool}"));
    }
    let text = |key: &str| input.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(command) = command(input) {
        return Some(run(&command));
    }
    let object = files.or_else(|| {
        let keys = ["pattern", "query", "url", "subject", "description", "skill"];
        keys.iter().find_map(|key| text(key)).map(str::to_owned)
    });
    object.map(|object| format!("{name} {object}"))
}

/// The command line: a text, or a list of words.
fn command(input: &Value) -> Option<String> {
    let command = ["command", "cmd"].iter().find_map(|key| input.get(*key))?;
    let text = match command {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// The command that a shell is called with, if that is all there is.
fn without_shell(command: &str) -> &str {
    let shells = [
        "/bin/bash -lc ",
        "/usr/bin/bash -lc ",
        "bash -lc ",
        "bash -c ",
        "/bin/sh -c ",
        "sh -c ",
    ];
    let Some(inner) = shells.iter().find_map(|shell| command.strip_prefix(shell)) else {
        return command;
    };
    let quoted = ['\'', '"'].iter().find_map(|quote| {
        let inner = inner.strip_prefix(*quote)?.strip_suffix(*quote)?;
        (!inner.contains(*quote)).then_some(inner)
    });
    // Without quotes, only the first word is the command.
    quoted.unwrap_or(if inner.contains([' ', '\'', '"']) {
        command
    } else {
        inner
    })
}

fn run(command: &str) -> String {
    let command = without_shell(command);
    let mut lines = command.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default().trim();
    let more = if lines.next().is_some() { " …" } else { "" };
    // So that a long command, too, has its closing mark.
    let room = LIMIT.saturating_sub("Run `` …".chars().count());
    let shown: String = first.chars().take(room).collect();
    format!("Run `{shown}`{more}")
}

fn code(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    format!("`{first}`")
}

/// `src/a.rs`, or `src/a.rs and 2 more`.
fn files(input: &Value, cwd: Option<&str>) -> Option<String> {
    let mut paths = paths(input);
    let first = relative(paths.next()?, cwd);
    match paths.count() {
        0 => Some(first.to_owned()),
        more => Some(format!("{first} and {more} more")),
    }
}

fn relative<'a>(path: &'a str, cwd: Option<&str>) -> &'a str {
    let inside = cwd.filter(|cwd| !cwd.is_empty()).and_then(|cwd| {
        let inside = path.strip_prefix(cwd.trim_end_matches('/'))?;
        if inside.is_empty() {
            return Some(".");
        }
        inside.strip_prefix('/')
    });
    inside.filter(|path| !path.is_empty()).unwrap_or(path)
}

/// ` (lines 3 to 12)`, if only a part is read.
fn lines(input: &Value) -> String {
    let number = |key: &str| input.get(key).and_then(Value::as_u64);
    match (number("offset"), number("limit")) {
        (first, Some(count)) if count > 0 => {
            let first = first.unwrap_or(1).max(1);
            let last = first.saturating_add(count).saturating_sub(1);
            format!(" (lines {first} to {last})")
        }
        (Some(first), _) if first > 1 => format!(" (from line {first})"),
        _ => String::new(),
    }
}

/// Whether all changes are new files.
fn is_whole(input: &Value) -> bool {
    let changes = edit::changes(input);
    !changes.is_empty() && changes.iter().all(|change| change.old.is_none())
}

fn is_list(name: &str) -> bool {
    let name = name.to_lowercase();
    name == "ls" || name.starts_with("list")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kind::kind;
    use super::*;

    #[test]
    fn a_title_says_what_is_done() {
        let long = "x".repeat(LIMIT + 1);
        let cut = format!("Run `{}`", "x".repeat(LIMIT - 8));
        let cases = [
            ("Bash", json!({"command": "ls -l", "description": "d"}), "Run `ls -l`"),
            ("bash", json!({"command": "\n ls -l\nrm x"}), "Run `ls -l` …"),
            ("exec_command", json!({"command": ["bash", "-lc", "ls"]}), "Run `ls`"),
            (
                "exec_command",
                json!({"command": "/bin/bash -lc 'ls -l'"}),
                "Run `ls -l`",
            ),
            (
                "exec_command",
                json!({"command": "bash -lc 'ls' 'x'"}),
                "Run `bash -lc 'ls' 'x'`",
            ),
            ("bash", json!({"command": ""}), "bash"),
            ("bash", json!({ "command": long }), &cut),
            ("Read", json!({"file_path": "/w/a"}), "Read a"),
            (
                "read_file",
                json!({"file_path": "/x/a", "offset": 3, "limit": 10}),
                "Read /x/a (lines 3 to 12)",
            ),
            ("Read", json!({"file_path": "/w", "offset": 3}), "Read . (from line 3)"),
            ("LS", json!({"path": "/w/src"}), "List src"),
            (
                "Edit",
                json!({"file_path": "/w/src/a.rs", "old_string": "a", "new_string": "b"}),
                "Edit src/a.rs",
            ),
            (
                "replace",
                json!({"file_path": "/wide/a", "old_string": "a", "new_string": "b"}),
                "Edit /wide/a",
            ),
            ("write_file", json!({"file_path": "/w/a", "content": ""}), "Write a"),
            (
                "apply_patch",
                json!({"changes": [{"path": "/w/c", "kind": "add"}, {"path": "/w/d", "kind": "delete"}]}),
                "Edit c and 1 more",
            ),
            (
                "Grep",
                json!({"pattern": "fn main", "path": "/w/src"}),
                "Search for `fn main` in src",
            ),
            ("WebFetch", json!({"url": "http://a", "prompt": "p"}), "Fetch http://a"),
            ("web_search", json!({"query": "rust"}), "Search the web for `rust`"),
            ("mcp__clock__now", json!({"zone": "UTC"}), "clock: now"),
            ("Skill", json!({"skill": "review"}), "Skill review"),
            ("Task", json!({"description": "Look", "prompt": "p"}), "Task Look"),
            ("todo", json!({"todos": []}), "todo"),
            ("todo", Value::Null, "todo"),
            ("Edit", Value::Null, "Edit"),
        ];
        for (name, input, expected) in cases {
            assert_eq!(title(name, kind(name), &input, Some("/w")), expected, "{name} {input}");
        }
    }
}
