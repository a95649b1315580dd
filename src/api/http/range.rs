//! `Range: bytes=…` (RFC 9110, section 14), one range, and the conditions on it (section 13); pure.

use axum::http::header::{IF_NONE_MATCH, IF_RANGE};
use axum::http::{HeaderMap, HeaderValue};

/// What a `Range` header means for a body of known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ranged {
    /// No range, or one that is to be ignored: everything.
    Whole,
    /// From the first offset up to, but not including, the second.
    Part(u64, u64),
    /// Nothing of it exists.
    Unsatisfiable,
}

/// Reads the header; what cannot be read, and several ranges at once, mean everything, as the RFC allows.
pub(crate) fn parse(header: Option<&str>, total: u64) -> Ranged {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Ranged::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Ranged::Whole;
    };
    match (first.trim(), last.trim()) {
        ("", suffix) => match suffix.parse::<u64>() {
            Ok(length) if length == 0 || total == 0 => Ranged::Unsatisfiable,
            Ok(length) => Ranged::Part(total.saturating_sub(length), total),
            Err(_) => Ranged::Whole,
        },
        (first, last) => {
            let last = if last.is_empty() {
                Ok(u64::MAX)
            } else {
                last.parse::<u64>()
            };
            match (first.parse::<u64>(), last) {
                (Ok(first), Ok(last)) if last < first => Ranged::Whole,
                (Ok(first), Ok(_)) if first >= total => Ranged::Unsatisfiable,
                (Ok(first), Ok(last)) => Ranged::Part(first, last.saturating_add(1).min(total)),
                (Err(_), _) | (_, Err(_)) => Ranged::Whole,
            }
        }
    }
}

/// What a caller says about the representation that it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions<'a> {
    if_range: Option<&'a [u8]>,
    if_none_match: Option<&'a [u8]>,
}

impl<'a> Conditions<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let value = |name| headers.get(name).map(HeaderValue::as_bytes);
        Self {
            if_range: value(IF_RANGE),
            if_none_match: value(IF_NONE_MATCH),
        }
    }

    /// Whether a `Range` counts: not where it continues another representation than this one. `tag` is strong, and we
    /// send no date, so nothing else can match.
    pub(crate) fn allow_range(self, tag: &str) -> bool {
        self.if_range.is_none_or(|given| given.trim_ascii() == tag.as_bytes())
    }

    /// Whether the caller has this representation.
    pub(crate) fn is_known(self, tag: &str) -> bool {
        let mut given = self.if_none_match.unwrap_or_default().split(|byte| *byte == b',');
        given.any(|given| {
            let given = given.trim_ascii();
            given == b"*" || given.strip_prefix(b"W/").unwrap_or(given) == tag.as_bytes()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_as_the_rfc_says() {
        let read = |header| parse(Some(header), 10);
        assert_eq!(read("bytes=0-3"), Ranged::Part(0, 4));
        assert_eq!(read("bytes=4-"), Ranged::Part(4, 10));
        assert_eq!(read("bytes=-3"), Ranged::Part(7, 10));
        assert_eq!(
            (read("bytes=-30"), read("bytes=8-99")),
            (Ranged::Part(0, 10), Ranged::Part(8, 10))
        );
        assert_eq!(
            (read("bytes=10-"), read("bytes=-0")),
            (Ranged::Unsatisfiable, Ranged::Unsatisfiable)
        );
        for ignored in [
            "bytes=3-1",
            "bytes=a-b",
            "bytes=0-1,4-5",
            "lines=0-1",
            "bytes=",
            "bytes=-",
        ] {
            assert_eq!(read(ignored), Ranged::Whole, "{ignored}");
        }
        assert_eq!(
            (parse(None, 0), parse(Some("bytes=0-"), 0)),
            (Ranged::Whole, Ranged::Unsatisfiable)
        );
    }

    #[test]
    fn a_range_counts_only_for_the_representation_that_it_continues() {
        let given = |given: &'static str| Conditions {
            if_range: Some(given.as_bytes()),
            if_none_match: Some(given.as_bytes()),
        };
        assert!(Conditions::default().allow_range("\"a\"") && !Conditions::default().is_known("\"a\""));
        assert!(given("\"a\"").allow_range("\"a\""));
        for other in ["\"b\"", "W/\"a\"", "a", "", "Sat, 21 Nov 2026 02:40:00 GMT"] {
            assert!(!given(other).allow_range("\"a\""), "{other}");
        }
        for known in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(given(known).is_known("\"a\""), "{known}");
        }
        assert!(!given("\"b\"").is_known("\"a\""));
    }
}
