//! When to try again: full jitter, and what the backend says itself; pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The most that is waited before the second attempt.
const FIRST: Duration = Duration::from_millis(250);

/// The most that is waited before any attempt, unless the backend asks for more.
const LONGEST: Duration = Duration::from_secs(30);

/// The most that a backend may ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// A sink whose backend refuses it is tried again this often: somebody may have put it right there.
pub(super) const PAUSE: Duration = Duration::from_mins(1);

/// How long to wait after `failures` failed attempts; `random` is uniform over all of `u64`.
pub(super) fn delay(failures: u32, random: u64, asked: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let most = doubled.min(LONGEST);
    // Full jitter: many sessions that failed together do not come back together.
    let micros = u128::from(random).saturating_mul(most.as_micros()) >> 64;
    let jittered = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
    asked.unwrap_or_default().min(LONGEST_ASKED).max(jittered)
}

/// What a `Retry-After` asks for: seconds, or an HTTP date.
pub(super) fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    // An HTTP date is one of RFC 2822, but for the name of its zone, which that allows as obsolete.
    let then = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(then.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_grow_and_end_at_half_a_minute() {
        let longest: Vec<u128> = (1..=10)
            .map(|failures| (delay(failures, u64::MAX, None).as_micros() + 1) / 1_000)
            .collect();
        assert_eq!(
            longest,
            [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]
        );
        assert_eq!(delay(10, 0, None), Duration::ZERO);
    }

    #[test]
    fn what_the_backend_asks_for_is_waited_up_to_five_minutes() {
        let now: Timestamp = "2026-11-21T02:40:00Z".parse().unwrap();
        let asked = |text| retry_after(text, now);
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(asked("Sat, 21 Nov 2026 02:40:09 GMT"), Some(Duration::from_secs(9)));
        assert_eq!(asked("Sat, 21 Nov 2026 02:39:00 GMT"), Some(Duration::ZERO));
        assert_eq!((asked("soon"), asked("-3"), asked("NaN")), (None, None, None));
        assert_eq!(delay(1, 0, asked("86400")), LONGEST_ASKED);
        assert_eq!(delay(1, 0, asked("3")), Duration::from_secs(3));
    }

    proptest! {
        #[test]
        fn no_header_and_no_number_makes_it_panic(text in ".*", failures: u32, random: u64) {
            let asked = retry_after(&text, Timestamp::UNIX_EPOCH);
            prop_assert!(delay(failures, random, asked) <= LONGEST_ASKED);
        }
    }
}
