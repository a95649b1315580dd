//! A check, its result and its text.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::terminal::Paint;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was checked.
    pub(super) name: String,
    pub(super) state: State,
    /// What was found.
    pub(super) detail: String,
    /// How to correct it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Check {
    pub(super) fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::Ok,
            detail: detail.into(),
            hint: None,
        }
    }

    pub(super) fn warn(name: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            state: State::Warn,
            hint: Some(hint.into()),
            ..Self::ok(name, detail)
        }
    }

    pub(super) fn fail(name: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(name, detail, hint)
        }
    }
}

pub(super) fn render(checks: &[Check], colours: bool) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (word, paint) = match check.state {
            State::Ok => ("ok  ", Paint::Good),
            State::Warn => ("warn", Paint::Busy),
            State::Fail => ("fail", Paint::Bad),
        };
        let word = if colours { paint.apply(word) } else { word.to_owned() };
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{word}  {:width$}  {}", check.name, check.detail);
        if let Some(hint) = &check.hint {
            let _written = writeln!(text, "      {:width$}  → {hint}", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_a_state_and_a_hint() {
        let checks = [
            Check::ok("home", "writable"),
            Check::fail("workspace", "read-only", "mount it anew"),
        ];
        let expected = "ok    home       writable\nfail  workspace  read-only\n                 → mount it anew\n";
        assert_eq!(render(&checks, false), expected);
    }
}
