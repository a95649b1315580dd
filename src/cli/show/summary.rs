//! The last lines: how a turn ended, its time and tokens, and how to continue.

use super::style::on;
use crate::cli::client::TurnEnd;
use crate::cli::terminal::{Paint, clip, one_line, seconds};
use promptd_model::{SessionStatus, Usage};

/// Maximum columns of an agent's error.
const MAX_ERROR: usize = 300;

/// `✗ failed (auth) after 2.1 s, 160 tokens in (60 cached), 14 out, $0.0123: the key is not valid`.
pub(crate) fn summary(end: &TurnEnd, colours: bool) -> String {
    let (sign, paint) = match end.status {
        SessionStatus::Completed => ("✓", Paint::Good),
        SessionStatus::Cancelled => ("■", Paint::Busy),
        _ => ("✗", Paint::Bad),
    };
    let status = end.status.name().replace('_', " ");
    let cause = end.cause.and_then(|cause| serde_json::to_value(cause).ok());
    let cause = cause.as_ref().and_then(|cause| cause.as_str());
    let cause = cause.map(|cause| format!(" ({cause})"));
    let time = end.duration.map(|time| format!(" after {}", seconds(time)));
    let error = end
        .error
        .as_deref()
        .map(|error| format!(": {}", clip(&one_line(error), MAX_ERROR)));
    let words: String = [Some(status), cause, time, end.usage.and_then(usage), error]
        .into_iter()
        .flatten()
        .collect();
    format!("{} {words}", on(colours, paint, sign))
}

fn usage(usage: Usage) -> Option<String> {
    let cached = usage.cached_tokens.filter(|cached| *cached > 0);
    let cached = cached.map_or_else(String::new, |cached| format!(" ({} cached)", number(cached)));
    let parts = [
        usage
            .input_tokens
            .map(|tokens| format!(", {} tokens in{cached}", number(tokens))),
        usage.output_tokens.map(|tokens| format!(", {} out", number(tokens))),
        usage.cost_usd.map(|cost| format!(", ${cost:.4}")),
    ];
    parts.into_iter().flatten().reduce(|all, part| all + &part)
}

/// With a comma between groups of three digits.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How to continue a session.
pub(crate) fn hint(session: &str, colours: bool) -> String {
    on(
        colours,
        Paint::Faint,
        &format!("  go on: promptd run --session {session} PROMPT · all of it: promptd logs {session}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_model::Cause;

    fn end(status: SessionStatus) -> TurnEnd {
        TurnEnd {
            status,
            cause: None,
            error: None,
            exit_code: None,
            usage: None,
            duration: None,
        }
    }

    #[test]
    fn summary_has_status_time_tokens_cost_and_error() {
        let usage = Some(Usage {
            input_tokens: Some(1_234_567),
            output_tokens: Some(14),
            cached_tokens: Some(1_000),
            cost_usd: Some(0.0123),
        });
        let end = TurnEnd {
            cause: Some(Cause::Auth),
            error: Some("bad\x1b[31m\nkey".into()),
            usage,
            duration: Some(2.06),
            ..end(SessionStatus::Failed)
        };
        assert_eq!(
            summary(&end, false),
            "✗ failed (auth) after 2.1 s, 1,234,567 tokens in (1,000 cached), 14 out, $0.0123: bad^[[31m key"
        );
        assert_eq!(summary(&self::end(SessionStatus::TimedOut), false), "✗ timed out");
    }
}
