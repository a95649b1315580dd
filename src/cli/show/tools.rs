//! Tool calls: a line when they start, and one when they end.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use super::style::Style;
use crate::cli::terminal::{Paint, clip, first_line, one_line, seconds};

/// The running calls.
#[derive(Debug, Default)]
pub(super) struct Tools {
    open: HashMap<String, Call>,
    /// Calls that the model still writes, by their ids: the line comes when it is known what they do.
    announced: HashMap<String, String>,
    /// The call whose start is the last line.
    last: Option<String>,
}

#[derive(Debug)]
struct Call {
    label: String,
    /// The label was not cut off.
    is_whole: bool,
    start: Timestamp,
}

impl Tools {
    /// The lines of an update; none if it has nothing new.
    pub(super) fn update(&mut self, update: &Value, time: Timestamp, style: &Style) -> Vec<String> {
        let id = update.get("toolCallId").and_then(Value::as_str).unwrap_or_default();
        let margin = margin(update);
        let mut lines = Vec::new();
        if is_announced(update) {
            let name = update.get("title").and_then(Value::as_str).map(one_line);
            self.announced.insert(id.to_owned(), name.unwrap_or_default());
            return lines;
        }
        let announced = self.announced.remove(id);
        let label = label(update).or(announced);
        if let (false, Some(label)) = (self.open.contains_key(id), &label) {
            let shown = clip(label, style.width.saturating_sub(margin.len() + 2));
            let shown_label = style.on(Paint::Strong, &shown);
            lines.push(format!("{margin}{} {shown_label}", style.on(Paint::Busy, "●")));
            let call = Call {
                label: label.clone(),
                is_whole: shown == *label,
                start: time,
            };
            self.open.insert(id.to_owned(), call);
            self.last = Some(id.to_owned());
        }
        let succeeded = match update.get("status").and_then(Value::as_str) {
            Some("completed") => true,
            Some("failed") => false,
            _ => return lines,
        };
        let Some(call) = self.open.remove(id) else {
            return lines;
        };
        let follows = self.last.take_if(|last| last == id).is_some();
        let label = label.unwrap_or_else(|| call.label.clone());
        // Directly below its first line, the call need not be named again.
        let which = (!follows || label != call.label).then_some(label);
        let took = time.duration_since(call.start).as_secs_f64();
        let time = (took >= 0.1).then(|| format!("({})", seconds(took)));
        let words = [which, Some(outcome(update)).filter(|text| !text.is_empty())];
        let words = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
        let room = style
            .width
            .saturating_sub(margin.len() + 4 + time.as_ref().map_or(0, |time| time.len() + 1));
        let sign = if succeeded {
            style.on(Paint::Good, "✓")
        } else {
            style.on(Paint::Bad, "✗")
        };
        let words = Some(clip(&words, room)).filter(|text| !text.is_empty());
        let rest = [
            words.map(|text| style.on(Paint::Faint, &text)),
            time.map(|text| style.on(Paint::Faint, &text)),
        ];
        let rest: String = rest.into_iter().flatten().map(|text| format!(" {text}")).collect();
        lines.push(format!("{margin}  {sign}{rest}"));
        lines
    }

    /// Notes that other output follows the last call's line.
    pub(super) fn interrupted(&mut self) {
        self.last = None;
    }

    /// Whether the last line shows a call with this title in full.
    pub(super) fn has_just_shown(&self, title: &str) -> bool {
        let last = self.last.as_ref().and_then(|id| self.open.get(id));
        let title = one_line(title);
        let title = command_of(&title).unwrap_or(title);
        last.is_some_and(|call| {
            let is_it = call.label == title || call.label.ends_with(&format!(": {title}"));
            is_it && call.is_whole
        })
    }

    /// A running call, preferably the last one shown.
    pub(super) fn running(&self) -> Option<&str> {
        let last = self.last.as_ref().and_then(|id| self.open.get(id));
        let call = last.or_else(|| self.open.values().max_by_key(|call| call.start));
        call.map(|call| call.label.as_str())
    }

    /// Forgets all calls.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Output of a subagent is indented.
fn margin(update: &Value) -> &'static str {
    if is_of_subagent(update) { "  " } else { "" }
}

/// Whether an update comes from a subagent.
pub(super) fn is_of_subagent(update: &Value) -> bool {
    update
        .pointer("/_meta/parent_tool_use_id")
        .is_some_and(Value::is_string)
}

/// Whether the model has only begun to write the call.
fn is_announced(update: &Value) -> bool {
    let text = |key: &str| update.get(key).and_then(Value::as_str);
    let is_call = text("sessionUpdate") == Some("tool_call") && text("status").is_none();
    is_call && update.get("rawInput").is_none() && update.get("name").is_some()
}

/// The words with which titles begin that say what is done.
const VERBS: [&str; 8] = [
    "Read ", "List ", "Write ", "Edit ", "Delete ", "Move ", "Search ", "Fetch ",
];

/// `npm test` of the title ``Run `npm test` ``.
fn command_of(title: &str) -> Option<String> {
    let (command, more) = title.strip_prefix("Run `")?.rsplit_once('`')?;
    Some(format!("{command}{more}"))
}

/// `Bash: npm test`; `None` where the update does not name the call.
fn label(update: &Value) -> Option<String> {
    let text = |key: &str| update.get(key).and_then(Value::as_str).map(one_line);
    let title = text("title").filter(|title| !title.is_empty());
    let title = title.map(|title| command_of(&title).unwrap_or(title));
    match (text("name"), title) {
        (Some(name), Some(title)) if title.starts_with(&name) => Some(title),
        (Some(_), Some(title)) if VERBS.iter().any(|verb| title.starts_with(verb)) => Some(title),
        (Some(name), Some(title)) => Some(format!("{name}: {title}")),
        (name, title) => title.or(name),
    }
}

/// The first line of a call's output, or the first file that it changed.
fn outcome(update: &Value) -> String {
    let blocks = update.get("content").and_then(Value::as_array);
    let texts = blocks.into_iter().flatten().filter_map(|block| {
        let text = block.pointer("/content/text").and_then(Value::as_str);
        text.or_else(|| block.get("path").and_then(Value::as_str))
    });
    let mut lines = texts.map(first_line).filter(|line| !line.is_empty());
    lines.next().unwrap_or_default()
}
