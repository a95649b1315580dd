//! What may be used up before we refuse, freeze or end something.

/// The most bytes of output in one record, before escaping; longer lines are split into several records.
pub const MAX_CHUNK: usize = 64 << 10;

/// The most bytes of an agent's final answer that `turn_ended` repeats; the whole of it is in the output.
pub const MAX_RESULT: usize = 64 << 10;

/// The `[limits]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Turns that run at once; more wait in the queue. An agent takes 150 to 750 MB.
    pub running: usize,
    /// Turns that may wait; one more is refused with 429.
    pub queued: usize,
    /// The largest JSON body of a request, in bytes.
    pub body_bytes: usize,
    /// The most bytes one session may have in its journal; an agent that writes on is ended.
    pub session_bytes: u64,
    /// The most bytes all sessions may have together before the oldest closed ones are deleted.
    pub total_bytes: u64,
    /// Days that a closed session is kept.
    pub keep_days: u32,
    /// Free disk, in bytes, under which agents are frozen and new sessions refused.
    pub min_free_bytes: u64,
    /// Sessions and prompts accepted per minute; `None` means no limit.
    pub rate_per_minute: Option<u32>,
    /// Sessions and prompts accepted per hour; `None` means no limit.
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
            rate_per_minute: None,
            rate_per_hour: None,
        }
    }
}

/// The length of a buffer, as file offsets and counters are typed.
pub fn len64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The known word nearest to a mistyped one, if any is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
