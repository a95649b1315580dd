//! Calls of tools: a line when they begin, and one when they end.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;

use super::{Paint, Style};
use crate::cli::terminal::{clip, first_line, one_line, seconds};

/// The calls that run.
#[derive(Debug, Default)]
pub(super) struct Tools {
    open: HashMap<String, Call>,
    /// The call whose beginning was printed last, with nothing behind it.
    last: Option<String>,
}

#[derive(Debug)]
struct Call {
    label: String,
    /// There was room for all of it.
    is_whole: bool,
    begun: Timestamp,
}

impl Tools {
    /// The lines that an update gives; none where it tells nothing new.
    pub(super) fn update(&mut self, update: &Value, time: Timestamp, style: &Style) -> Vec<String> {
        let id = update.get("toolCallId").and_then(Value::as_str).unwrap_or_default();
        let margin = margin(update);
        let mut lines = Vec::new();
        let label = label(update);
        if let (false, Some(label)) = (self.open.contains_key(id), &label) {
            let shown = clip(label, style.width.saturating_sub(margin.len() + 2));
            let begun = style.on(Paint::Strong, &shown);
            lines.push(format!("{margin}{} {begun}", style.on(Paint::Busy, "●")));
            let call = Call {
                label: label.clone(),
                is_whole: shown == *label,
                begun: time,
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
        // Behind its own first line nobody has to be told which call it was.
        let which = (!follows || label != call.label).then_some(label);
        let took = time.duration_since(call.begun).as_secs_f64();
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

    /// Something else is printed: what follows a call's first line is not its end any more.
    pub(super) fn interrupted(&mut self) {
        self.last = None;
    }

    /// Whether the line that was printed last names a call so, and whole: nobody is to allow what was cut off.
    pub(super) fn has_just_said(&self, title: &str) -> bool {
        let last = self.last.as_ref().and_then(|id| self.open.get(id));
        let title = one_line(title);
        last.is_some_and(|call| {
            let is_it = call.label == title || call.label.ends_with(&format!(": {title}"));
            is_it && call.is_whole
        })
    }

    /// A call that runs, the one that began last if it is known.
    pub(super) fn running(&self) -> Option<&str> {
        let last = self.last.as_ref().and_then(|id| self.open.get(id));
        let call = last.or_else(|| self.open.values().max_by_key(|call| call.begun));
        call.map(|call| call.label.as_str())
    }

    /// A turn is over, and so are its calls.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What belongs to a subagent stands to the right.
fn margin(update: &Value) -> &'static str {
    if is_of_subagent(update) { "  " } else { "" }
}

/// Whether a subagent of the agent says so.
pub(super) fn is_of_subagent(update: &Value) -> bool {
    update
        .pointer("/_meta/parent_tool_use_id")
        .is_some_and(Value::is_string)
}

/// `Bash: npm test`; `None` where the update does not name the call.
fn label(update: &Value) -> Option<String> {
    let text = |key: &str| update.get(key).and_then(Value::as_str).map(one_line);
    let title = text("title").filter(|title| !title.is_empty());
    match (text("name"), title) {
        (Some(name), Some(title)) if title.starts_with(&name) => Some(title),
        (Some(name), Some(title)) => Some(format!("{name}: {title}")),
        (name, title) => title.or(name),
    }
}

/// The first line of what a call has put out, or the files that it changed.
fn outcome(update: &Value) -> String {
    let blocks = update.get("content").and_then(Value::as_array);
    let texts = blocks.into_iter().flatten().filter_map(|block| {
        let text = block.pointer("/content/text").and_then(Value::as_str);
        text.or_else(|| block.get("path").and_then(Value::as_str))
    });
    let mut lines = texts.map(first_line).filter(|line| !line.is_empty());
    lines.next().unwrap_or_default()
}
