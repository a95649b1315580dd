//! `Range: bytes=…` (RFC 9110, section 14): one range; pure.

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
}
