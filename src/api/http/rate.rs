//! Rate limits: off unless configured; pure but for the lock.
//!
//! One token bucket per limit. Small enough to need no crate; the clock comes in as an argument.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderName, StatusCode};

use crate::api::http::problem::Problem;
use promptd_model::Limits;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// How much has been accepted lately.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(Mutex<[Option<Bucket>; 2]>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    limit: u32,
    per: Duration,
    /// When the bucket is full again.
    full_at: Instant,
}

/// How long until there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exceeded {
    limit: u32,
    per: Duration,
    wait: Duration,
}

impl RateLimiter {
    /// Counts one session or prompt, or refuses it.
    pub(crate) fn take(&self, limits: &Limits, now: Instant) -> Result<(), Problem> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = [(limits.rate_per_minute, MINUTE), (limits.rate_per_hour, HOUR)];
        let mut filled = [None; 2];
        for ((bucket, (limit, per)), filled) in buckets.iter_mut().zip(wanted).zip(&mut filled) {
            if bucket.map(|bucket| bucket.limit) != limit {
                *bucket = limit.map(|limit| Bucket {
                    limit,
                    per,
                    full_at: now,
                });
            }
            *filled = bucket.map(|bucket| bucket.take(now)).transpose().map_err(refusal)?;
        }
        // Only now, so that what one limit refuses does not count for the other.
        *buckets = filled;
        Ok(())
    }
}

impl Bucket {
    fn take(self, now: Instant) -> Result<Self, Exceeded> {
        let one = self.per.checked_div(self.limit).unwrap_or(self.per);
        let full_at = self.full_at.max(now) + one;
        let ahead = full_at.saturating_duration_since(now);
        let room = if self.limit == 0 { Duration::ZERO } else { self.per };
        if ahead > room {
            return Err(Exceeded {
                limit: self.limit,
                per: self.per,
                wait: ahead.saturating_sub(room),
            });
        }
        Ok(Self { full_at, ..self })
    }
}

fn refusal(exceeded: Exceeded) -> Problem {
    let Exceeded { limit, per, wait } = exceeded;
    let seconds = wait.as_secs().saturating_add(1);
    let unit = if per == MINUTE { "minute" } else { "hour" };
    let detail = format!(
        "{limit} sessions and prompts per {unit} are allowed; try again in {seconds} s or raise limits.rate_per_{unit}"
    );
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
        .retry_after(seconds)
        .with_header(HeaderName::from_static("ratelimit-limit"), limit)
        .with_header(HeaderName::from_static("ratelimit-remaining"), 0)
        .with_header(HeaderName::from_static("ratelimit-reset"), seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(minute: Option<u32>, hour: Option<u32>) -> Limits {
        Limits {
            rate_per_minute: minute,
            rate_per_hour: hour,
            ..Limits::default()
        }
    }

    #[test]
    fn without_a_limit_all_requests_pass() {
        let (rate, now) = (RateLimiter::default(), Instant::now());
        assert!((0..10_000).all(|_| rate.take(&limits(None, None), now).is_ok()));
    }

    #[test]
    fn a_burst_up_to_the_limit_passes_then_one_at_a_time() {
        let (rate, now, limits) = (RateLimiter::default(), Instant::now(), limits(Some(3), None));
        assert!((0..3).all(|_| rate.take(&limits, now).is_ok()));
        let problem = rate.take(&limits, now).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.code()), (429, "rate_limited"));
        let response = problem.render("", false);
        assert_eq!(
            (
                &response.headers()["ratelimit-limit"],
                &response.headers()["retry-after"]
            ),
            (&"3".parse().unwrap(), &"21".parse().unwrap())
        );
        assert!(rate.take(&limits, now + Duration::from_secs(20)).is_ok());
        assert!(rate.take(&limits, now + Duration::from_secs(20)).is_err());
    }

    #[test]
    fn a_refusal_by_one_limit_does_not_count_for_the_other() {
        let (rate, now, limits) = (RateLimiter::default(), Instant::now(), limits(Some(1), Some(2)));
        assert!(rate.take(&limits, now).is_ok());
        assert!((0..50).all(|_| rate.take(&limits, now).is_err()));
        assert!(rate.take(&limits, now + MINUTE).is_ok());
        assert!(rate.take(&limits, now + MINUTE * 2).is_err());
        assert!(rate.take(&limits, now + HOUR).is_ok());
    }
}
