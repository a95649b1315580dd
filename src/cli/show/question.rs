//! Permission questions of agents: their text, and the keys that answer them.

use super::style::Style;
use crate::cli::terminal::{Paint, one_line};
use promptd_model::{Permission, PermissionKind};

/// Maximum options with a number key.
const DIGITS: u8 = 9;

/// The question if the line above already says what it is about.
const SHORT: &str = "Is this allowed?";

/// The question and its keys. `is_shown`: the line above says what it is about.
pub(super) fn with_keys(question: &Permission, is_shown: bool, style: &Style) -> Vec<String> {
    let title = if is_shown {
        SHORT.to_owned()
    } else {
        one_line(&question.title)
    };
    let mut lines = vec![format!(
        "{} {}",
        style.on(Paint::Busy, "?"),
        style.on(Paint::Strong, &title)
    )];
    lines.extend(questions(question));
    for (number, option) in (1..=DIGITS).zip(&question.options) {
        if !is_enough(question, option.kind) {
            continue;
        }
        let letter = letter(option.kind).filter(|letter| option_of_key(question, *letter) == Some(&option.option_id));
        let letter = letter.map_or(' ', char::from);
        lines.push(format!("  {number} {letter}  {}", one_line(&option.name)));
    }
    lines
}

/// Whether an option alone is an answer.
fn is_enough(question: &Permission, kind: PermissionKind) -> bool {
    let rejects = matches!(kind, PermissionKind::RejectOnce | PermissionKind::RejectAlways);
    rejects || question.questions.is_empty()
}

/// What the agent wants to know, which no key can answer.
fn questions(question: &Permission) -> Vec<String> {
    let mut lines = Vec::new();
    for asked in &question.questions {
        let choices: Vec<String> = asked.choices.iter().map(|choice| one_line(&choice.value)).collect();
        let choices = if choices.is_empty() {
            String::new()
        } else {
            format!(" ({})", choices.join(", "))
        };
        lines.push(format!("  {}{choices}", one_line(&asked.text)));
    }
    if let (false, Some(option)) = (lines.is_empty(), question.options.first()) {
        let (id, option) = (one_line(&question.id), one_line(&option.option_id));
        lines.push(format!(
            "  answer with `promptd answer SESSION {id} {option} --answer QUESTION=ANSWER`"
        ));
    }
    lines
}

/// The question and the command that answers it.
pub(super) fn with_command(question: &Permission, session: &str) -> String {
    let options = question.options.iter().map(|option| {
        let (id, name) = (one_line(&option.option_id), one_line(&option.name));
        if id == name { id } else { format!("{id} ({name})") }
    });
    let options: Vec<String> = options.collect();
    let until = question
        .expires_at
        .map_or_else(String::new, |at| format!(", until {at:.0}"));
    let asked: Vec<String> = question
        .questions
        .iter()
        .map(|asked| format!("{:?}", one_line(&asked.id)))
        .collect();
    let answers = if asked.is_empty() {
        String::new()
    } else {
        format!(" and, to allow it, --answer QUESTION=ANSWER for {}", asked.join(", "))
    };
    format!(
        "promptd: the agent asks: {}; answer with `promptd answer {session} {} OPTION`, where OPTION is {}{answers}{until}",
        one_line(&question.title),
        one_line(&question.id),
        options.join(", "),
    )
}

/// The option of a key: its number, or y, a and n for the option of that kind that grants least.
pub(crate) fn option_of_key(question: &Permission, key: u8) -> Option<&str> {
    let option = match key {
        b'1'..=b'9' => question.options.get(usize::from(key.saturating_sub(b'1'))),
        _ => [
            PermissionKind::AllowOnce,
            PermissionKind::AllowAlways,
            PermissionKind::RejectOnce,
        ]
        .into_iter()
        .find(|kind| letter(*kind) == Some(key.to_ascii_lowercase()))
        .and_then(|kind| question.narrowest(kind.name())),
    };
    let option = option.filter(|option| is_enough(question, option.kind));
    option.map(|option| option.option_id.as_str())
}

fn letter(kind: PermissionKind) -> Option<u8> {
    match kind {
        PermissionKind::AllowOnce => Some(b'y'),
        PermissionKind::AllowAlways => Some(b'a'),
        PermissionKind::RejectOnce => Some(b'n'),
        PermissionKind::RejectAlways => None,
    }
}
