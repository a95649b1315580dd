//! Limits on records, sessions and the server.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Maximum bytes of output in one record, before escaping. A longer line is split into several records.
pub const MAX_CHUNK: usize = 64 << 10;

/// Maximum bytes of the agent's final answer in `turn_ended`. The full answer is in the output.
pub const MAX_RESULT: usize = 64 << 10;

/// Maximum bytes of one argument, or of one variable as `NAME=value`, with which Linux starts a program: `MAX_ARG_STRLEN`
/// less the final zero.
pub const MAX_ARGUMENT: usize = 131_071;

/// The `[limits]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Turns that run at the same time; others wait in the queue. An agent needs 150 to 750 MB.
    #[serde(deserialize_with = "positive")]
    pub running: usize,
    /// Turns that may wait in the queue; one more is refused with 429.
    pub queued: usize,
    /// Maximum JSON body of a request, in bytes.
    #[serde(deserialize_with = "positive")]
    pub body_bytes: usize,
    /// Maximum bytes of a session's journal; an agent that writes more is ended.
    #[serde(deserialize_with = "positive")]
    pub session_bytes: u64,
    /// Maximum bytes of all sessions together; above it the oldest closed sessions are deleted.
    #[serde(deserialize_with = "positive")]
    pub total_bytes: u64,
    /// Days for which a closed session is kept.
    pub keep_days: u32,
    /// Minimum free disk space, in bytes; below it agents are frozen and new sessions refused.
    pub min_free_bytes: u64,
    /// Connections of callers at the same time; `None` means 1,024. Fewer if the limit of open files asks for it.
    #[serde(deserialize_with = "some_positive")]
    pub connections: Option<usize>,
    /// Sessions and prompts accepted per minute; `None` means no limit.
    #[serde(deserialize_with = "some_positive")]
    pub rate_per_minute: Option<u32>,
    /// Sessions and prompts accepted per hour; `None` means no limit.
    #[serde(deserialize_with = "some_positive")]
    pub rate_per_hour: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 8,
            queued: 1_000,
            body_bytes: 64 << 20,
            session_bytes: 1 << 30,
            total_bytes: 8 << 30,
            keep_days: 30,
            min_free_bytes: 128 << 20,
            connections: None,
            rate_per_minute: None,
            rate_per_hour: None,
        }
    }
}

/// Reads a number that must be 1 or more.
fn positive<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    let number = T::deserialize(deserializer)?;
    if number == T::default() {
        return Err(D::Error::custom("expected a number that is 1 or more"));
    }
    Ok(number)
}

fn some_positive<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    positive(deserializer).map(Some)
}

/// The length of a buffer as `u64`, the type of file offsets and counters.
pub fn len64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The known word that is most similar to `word`, if it is similar enough: "did you mean".
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
