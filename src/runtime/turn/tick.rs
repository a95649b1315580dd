//! Regular checks of all running turns at the same moments: many turns wake the server as often as one.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Waits for the next moment.
pub(crate) async fn next_tick() {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(Instant::now);
    let passed = first.elapsed().as_secs() / INTERVAL.as_secs();
    let next = u32::try_from(passed.saturating_add(1)).unwrap_or(u32::MAX);
    tokio::time::sleep_until(first + INTERVAL.saturating_mul(next)).await;
}
