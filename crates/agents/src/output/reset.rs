//! Finds when a quota is full again, in an agent's sentence.
//!
//! Seen: `resets 10:30am`, `resets 3pm (Europe/Berlin)`, `resets Oct 9, 5pm`, `usage limit reached|1760000000` (claude),
//! `Try again at Oct 9th, 2025 3:45 PM.`, `try again in 3 hours 42 minutes` (codex), `will reset after 18h31m10s`,
//! `Please retry in 34.07s` (gemini), `"resets_at":1760000000`, `"resets_in_seconds":60` (APIs).

use jiff::civil::Time;
use jiff::{SignedDuration, Timestamp};

use promptd_model::{ClockTime, Reset};

/// The words in front of a time.
const INTRODUCTIONS: [&str; 4] = ["reset", "try again", "retry", "limit reached"];

/// How much of the text behind an introduction is read.
const WINDOW: usize = 80;

/// The years 2017 to 2106, in seconds of the Unix epoch: a smaller number is no moment.
const EPOCHS: std::ops::RangeInclusive<i64> = 1_500_000_000..=4_300_000_000;

/// When the quota of an error message is full again.
#[must_use]
pub fn find_reset(message: &str) -> Option<Reset> {
    let lower = message.to_ascii_lowercase();
    let mut introductions = INTRODUCTIONS.iter().flat_map(|word| {
        let found = lower.match_indices(word);
        found.map(|(at, word)| at + word.len())
    });
    introductions.find_map(|behind| {
        // Zones are written with capital letters; the words around them are as long in lower case.
        let (lower, text) = (lower.get(behind..)?, message.get(behind..)?);
        let end = lower.floor_char_boundary(WINDOW);
        time_in(lower.get(..end)?, text.get(..end)?)
    })
}

fn time_in(lower: &str, text: &str) -> Option<Reset> {
    let tokens: Vec<Token> = tokens(lower).collect();
    moment(&tokens, text)
        .or_else(|| duration(lower, &tokens))
        .or_else(|| clock(&tokens, text))
}

/// A word or a number of a sentence; `10:30am` is `10`, `:`, `30`, `am`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Number(&'a str),
    Word(&'a str),
    Colon,
}

fn tokens(lower: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = lower;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            let length = |is_part: fn(char) -> bool| rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (token, end) = match first {
                '0'..='9' => {
                    let end = length(|c| c.is_ascii_digit() || c == '.');
                    // A full stop ends a sentence.
                    let number = rest.get(..end)?.trim_end_matches('.');
                    (Some(Token::Number(number)), end)
                }
                'a'..='z' => {
                    let end = length(|c| c.is_ascii_lowercase());
                    (Some(Token::Word(rest.get(..end)?)), end)
                }
                ':' => (Some(Token::Colon), 1),
                other => (None, other.len_utf8()),
            };
            rest = rest.get(end..)?;
            if token.is_some() {
                return token;
            }
        }
    })
}

/// `1760000000`, also in milliseconds, and RFC 3339.
fn moment(tokens: &[Token<'_>], text: &str) -> Option<Reset> {
    let seconds = tokens.iter().find_map(|token| {
        let Token::Number(number) = token else { return None };
        let number: i64 = number.parse().ok()?;
        [number, number / 1000]
            .into_iter()
            .find(|seconds| EPOCHS.contains(seconds))
    });
    let by_epoch = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '(' | ')'));
    let by_date = || {
        words
            .filter(|word| word.contains('T'))
            .find_map(|word| word.trim_end_matches('.').parse().ok())
    };
    by_epoch.or_else(by_date).map(Reset::At)
}

/// `in 3 hours 42 minutes`, `after 18h31m10s`, `_in_seconds":60`.
fn duration(lower: &str, tokens: &[Token<'_>]) -> Option<Reset> {
    let start = tokens
        .iter()
        .position(|token| matches!(token, Token::Word("in" | "after" | "delay")))?;
    let mut rest = tokens.get(start + 1..)?;
    if let [Token::Word("seconds"), behind @ ..] = rest {
        let Some(Token::Number(number)) = behind.iter().find(|token| **token != Token::Colon) else {
            return None;
        };
        return Some(Reset::After(
            SignedDuration::try_from_secs_f64(number.parse().ok()?).ok()?,
        ));
    }
    let mut total: Option<f64> = None;
    loop {
        rest = match rest {
            [Token::Number(number), Token::Word(unit), behind @ ..] => {
                let Some(seconds) = seconds_of(unit) else { break };
                total = Some(total.unwrap_or(0.0) + number.parse::<f64>().ok()? * seconds);
                behind
            }
            [Token::Word("and" | "about"), behind @ ..] => behind,
            [Token::Colon, behind @ ..] if total.is_none() => behind,
            _ => break,
        };
    }
    if total.is_none() && lower.contains("less than a minute") {
        total = Some(60.0);
    }
    Some(Reset::After(SignedDuration::try_from_secs_f64(total?).ok()?))
}

fn seconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    })
}

/// `10:30am`, `3 pm`, `15:30`, with or without a day and a zone.
fn clock(tokens: &[Token<'_>], text: &str) -> Option<Reset> {
    let at = (0..tokens.len()).find_map(|at| time_of_day(tokens.get(at..)?));
    let day = tokens.windows(2).enumerate().find_map(|(at, pair)| match pair {
        [Token::Word(word), Token::Number(day)] => Some((at, (month(word)?, day.parse().ok()?))),
        _ => None,
    });
    let year = tokens.iter().find_map(|token| match token {
        Token::Number(number) if number.len() == 4 => number.parse().ok(),
        _ => None,
    });
    let time = match (at, day) {
        (Some(time), _) => time,
        (None, Some(_)) => Time::midnight(),
        (None, None) => return None,
    };
    Some(Reset::Clock(ClockTime {
        time,
        day: day.map(|(_, day)| day),
        year: year.filter(|_| day.is_some()),
        zone: zone(text),
    }))
}

fn time_of_day(tokens: &[Token<'_>]) -> Option<Time> {
    let (hour, minute, behind) = match tokens {
        [Token::Number(hour), Token::Colon, Token::Number(minute), behind @ ..] => (hour, *minute, behind),
        [Token::Number(hour), behind @ ..] if matches!(behind, [Token::Word("am" | "pm" | "a" | "p"), ..]) => {
            (hour, "0", behind)
        }
        _ => return None,
    };
    let (hour, minute): (i8, i8) = (hour.parse().ok()?, minute.parse().ok()?);
    let hour = match behind.first() {
        Some(Token::Word("am" | "a")) if (1..=12).contains(&hour) => hour % 12,
        Some(Token::Word("pm" | "p")) if (1..=12).contains(&hour) => hour % 12 + 12,
        _ => hour,
    };
    Time::new(hour, minute, 0, 0).ok()
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let index = MONTHS.iter().position(|month| word.starts_with(month))?;
    i8::try_from(index + 1).ok()
}

/// `(Europe/Berlin)`, `UTC`.
fn zone(text: &str) -> Option<String> {
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '.' | ';'));
    let is_zone = |word: &&str| {
        let is_name = word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'));
        matches!(*word, "UTC" | "GMT") || (is_name && word.contains('/') && word.starts_with(char::is_uppercase))
    };
    words.find(is_zone).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    /// The moment, if the sentence was said at noon.
    fn at(message: &str) -> Option<String> {
        let now = "2026-11-27T12:00:00Z".parse().unwrap();
        let moment = find_reset(message)?.moment(now, &TimeZone::UTC)?;
        Some(moment.to_string())
    }

    #[test]
    fn a_reset_is_found_in_sentences_of_all_agents() {
        let cases = [
            ("You've hit your session limit · resets 10:30am", "2026-11-28T10:30:00Z"),
            ("You've hit your session limit · resets 10:30pm", "2026-11-27T22:30:00Z"),
            (
                "You've hit your limit · resets 3pm (Europe/Berlin)",
                "2026-11-27T14:00:00Z",
            ),
            (
                "You've hit your weekly limit · resets Dec 9, 5pm (America/New_York)",
                "2026-12-09T22:00:00Z",
            ),
            ("5-hour limit reached ∙ resets 12am", "2026-11-28T00:00:00Z"),
            ("Limit resets at 15:45 UTC.", "2026-11-27T15:45:00Z"),
            ("Claude AI usage limit reached|1795000000", "2026-11-18T11:06:40Z"),
            (
                "You've hit your usage limit. Try again at Dec 9th, 2026 3:45 PM.",
                "2026-12-09T15:45:00Z",
            ),
            (
                "You've hit your usage limit. Upgrade to Pro or try again in 3 hours 42 minutes.",
                "2026-11-27T15:42:00Z",
            ),
            ("try again in 2 days 1 hour", "2026-11-29T13:00:00Z"),
            (
                "Rate limit reached. Please try again in 1m3.5s. Visit https://x",
                "2026-11-27T12:01:03.5Z",
            ),
            ("Your quota will reset after 18h31m10s.", "2026-11-28T06:31:10Z"),
            ("Quota exceeded. Please retry in 34.07s.", "2026-11-27T12:00:34.07Z"),
            (r#"{"retryDelay":"34s"}"#, "2026-11-27T12:00:34Z"),
            (
                r#"{"type":"usage_limit_reached","resets_at":1795000000}"#,
                "2026-11-18T11:06:40Z",
            ),
            (r#"{"resets_in_seconds":60}"#, "2026-11-27T12:01:00Z"),
            ("resets at 2026-11-27T18:00:00Z", "2026-11-27T18:00:00Z"),
            ("Usage resets Jan 2", "2027-01-02T00:00:00Z"),
        ];
        for (message, expected) in cases {
            assert_eq!(at(message).as_deref(), Some(expected), "{message}");
        }
    }

    #[test]
    fn other_sentences_have_no_reset() {
        for message in [
            "",
            "rate limit exceeded",
            "retry 3 of 5",
            "exceeded retry limit, last status: 429 Too Many Requests",
            "connection reset by peer",
            "try again later",
            "resets 99:99",
        ] {
            assert_eq!(find_reset(message), None, "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_sentence_panics(words in "(reset|try again in|resets|retry|[0-9]{1,12}|:|am|pm|h|oct|é|🙂| |\\.|UTC|[A-Z]/){0,12}") {
            let _reset = find_reset(&words).and_then(|reset| reset.moment(Timestamp::UNIX_EPOCH, &TimeZone::UTC));
        }
    }
}
