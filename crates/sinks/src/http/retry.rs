//! Retry delays: exponential with full jitter, and `Retry-After`.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Maximum delay before the second attempt.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Maximum delay, unless the backend asks for more.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Maximum `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// How often a refused batch is tried again: the backend may have been corrected.
pub(crate) const PAUSE: Duration = Duration::from_mins(1);

/// The delay after `failures` failed attempts; `random` is uniform over all of `u64`.
pub(crate) fn retry_delay(failures: u32, random: u64, retry_after: Option<Duration>) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let most = doubled.min(MAX_DELAY);
    // Full jitter, so that sessions that failed together do not retry together.
    let micros = u128::from(random).saturating_mul(most.as_micros()) >> 64;
    let jittered = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    retry_after.unwrap_or_default().min(MAX_RETRY_AFTER).max(jittered)
}

/// Parses `Retry-After`: seconds, or an HTTP date.
pub(super) fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    // An HTTP date is an RFC 2822 date with an obsolete time zone.
    let then = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(then.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_up_to_thirty_seconds() {
        let longest: Vec<u128> = (1..=10)
            .map(|failures| (retry_delay(failures, u64::MAX, None).as_micros() + 1) / 1_000)
            .collect();
        assert_eq!(
            longest,
            [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
        );
        assert_eq!(retry_delay(10, 0, None), Duration::ZERO);
    }

    #[test]
    fn retry_after_is_respected_up_to_five_minutes() {
        let now: Timestamp = "2026-11-21T02:40:00Z".parse().unwrap();
        let asked = |text| parse_retry_after(text, now);
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(asked("Sat, 21 Nov 2026 02:40:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(asked("Sat, 21 Nov 2026 02:39:00 GMT"), Some(Duration::ZERO));
        assert_eq!((asked("soon"), asked("-3"), asked("NaN")), (None, None, None));
        assert_eq!(retry_delay(1, 0, asked("86400")), MAX_RETRY_AFTER);
        assert_eq!(retry_delay(1, 0, asked("3")), Duration::from_secs(3));
    }

    proptest! {
        #[test]
        fn any_header_gives_a_bounded_delay(text in ".*", failures: u32, random: u64) {
            let asked = parse_retry_after(&text, Timestamp::UNIX_EPOCH);
            prop_assert!(retry_delay(failures, random, asked) <= MAX_RETRY_AFTER);
        }
    }
}
