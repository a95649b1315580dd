//! Classifies why a turn failed: by what the agent reports as data, else by an HTTP status, and by wording last.

use promptd_model::Cause;

/// Names of errors, as operating systems, the APIs of models and the agents write them: they are data, also in the middle
/// of a sentence. Lower case, whole words.
const CODES: &[(&str, Cause)] = &[
    ("authentication_error", Cause::Auth),
    ("authentication_failed", Cause::Auth),
    ("invalid_api_key", Cause::Auth),
    ("permission_error", Cause::Auth),
    ("permission_denied", Cause::Auth),
    ("oauth_org_not_allowed", Cause::Auth),
    ("invalid_grant", Cause::Auth),
    ("token_expired", Cause::Auth),
    ("unauthenticated", Cause::Auth),
    ("unauthorized", Cause::Auth),
    ("billing_error", Cause::Quota),
    ("rate_limit_error", Cause::Quota),
    ("rate_limit_exceeded", Cause::Quota),
    ("rate_limit", Cause::Quota),
    ("insufficient_quota", Cause::Quota),
    ("quota_exceeded", Cause::Quota),
    ("usage_limit_reached", Cause::Quota),
    ("usage_limit_exceeded", Cause::Quota),
    ("usage_not_included", Cause::Quota),
    ("resource_exhausted", Cause::Quota),
    ("engine_overloaded_error", Cause::Overloaded),
    ("overloaded_error", Cause::Overloaded),
    ("overloaded", Cause::Overloaded),
    ("server_error", Cause::Overloaded),
    ("server_is_overloaded", Cause::Overloaded),
    ("econnrefused", Cause::Network),
    ("econnreset", Cause::Network),
    ("enotfound", Cause::Network),
    ("eai_again", Cause::Network),
    ("etimedout", Cause::Network),
    ("ehostunreach", Cause::Network),
    ("enetunreach", Cause::Network),
];

/// Wording, for what comes without a name and without a status that says enough. Lower case; the first match decides.
const PHRASES: &[(&str, Cause)] = &[
    // The conversation to resume: claude, codex, qwen, gemini (twice), opencode, pi, copilot.
    ("no conversation found", Cause::ConversationLost),
    ("no rollout found", Cause::ConversationLost),
    ("no saved session found", Cause::ConversationLost),
    ("invalid session identifier", Cause::ConversationLost),
    ("no previous sessions found", Cause::ConversationLost),
    ("session not found", Cause::ConversationLost),
    ("no session found", Cause::ConversationLost),
    ("no session or task matched", Cause::ConversationLost),
    ("not logged in", Cause::Auth),
    ("run /login", Cause::Auth),
    ("invalid api key", Cause::Auth),
    // Gemini answers a wrong key with status 400.
    ("api key not valid", Cause::Auth),
    ("missing environment variable", Cause::Auth),
    ("gemini_api_key", Cause::Auth),
    ("set an auth method", Cause::Auth),
    ("invalid auth method", Cause::Auth),
    // Qwen, copilot, droid and pi without a key or a login.
    ("no auth type", Cause::Auth),
    ("no authentication information", Cause::Auth),
    ("authentication failed", Cause::Auth),
    ("no api key", Cause::Auth),
    // The libraries under opencode and pi.
    ("api key is missing", Cause::Auth),
    ("incorrect api key", Cause::Auth),
    // An ACP agent without a login.
    ("authentication required", Cause::Auth),
    ("invalid authentication credentials", Cause::Auth),
    ("token has expired", Cause::Auth),
    ("token is expired", Cause::Auth),
    ("access token could not be refreshed", Cause::Auth),
    ("sign in again", Cause::Auth),
    ("log in again", Cause::Auth),
    ("credentials have expired", Cause::Auth),
    // Anthropic answers an empty account with status 400.
    ("credit balance", Cause::Quota),
    ("out of credits", Cause::Quota),
    ("insufficient credits", Cause::Quota),
    ("hit your limit", Cause::Quota),
    ("quota exceeded", Cause::Quota),
    ("exceeded quota", Cause::Quota),
    ("quota will reset", Cause::Quota),
    ("out of quota", Cause::Quota),
    // Gemini, for status 429.
    ("request a quota increase", Cause::Quota),
    ("too many requests", Cause::Quota),
    ("at capacity", Cause::Overloaded),
    ("high demand", Cause::Overloaded),
    ("service unavailable", Cause::Overloaded),
    ("stream disconnected", Cause::Network),
    ("error sending request", Cause::Network),
    ("fetch failed", Cause::Network),
    ("socket hang up", Cause::Network),
    ("network error", Cause::Network),
    ("network is unreachable", Cause::Network),
    ("unable to connect", Cause::Network),
    ("could not connect", Cause::Network),
    ("failed to connect", Cause::Network),
    ("connection error", Cause::Network),
    ("connection refused", Cause::Network),
    ("connection reset", Cause::Network),
    ("connection timed out", Cause::Network),
    ("connect timeout", Cause::Network),
    ("request timed out", Cause::Network),
    ("getaddrinfo", Cause::Network),
    ("dns error", Cause::Network),
    ("could not resolve host", Cause::Network),
    ("name resolution", Cause::Network),
    ("internet connection", Cause::Network),
    ("other side closed", Cause::Network),
    ("premature close", Cause::Network),
];

/// What can be a subject of the agent's work, too: it is a cause only together with one of the words for its end.
const PAIRS: &[(&[&str], &[&str], Cause)] = &[
    (
        &["oauth token", "access token", "refresh token"],
        &[
            "expired",
            "invalid",
            "revoked",
            "already used",
            "not be refreshed",
            "obtain a new",
        ],
        Cause::Auth,
    ),
    (
        &[
            "rate limit",
            "rate-limit",
            "ratelimit",
            "usage limit",
            "session limit",
            "weekly limit",
            "5-hour limit",
            "opus limit",
            "sonnet limit",
            "spending limit",
            "your quota",
            "your current quota",
            "daily quota",
            "quota limit",
        ],
        &[
            "reached",
            "exceed",
            "hit ",
            "limited",
            "resets",
            "used up",
            "exhausted",
            "out of",
            "try again",
            "retry",
            "upgrade",
            "has been",
            "too ",
        ],
        Cause::Quota,
    ),
];

/// The cause, by wording.
fn of_wording(lower: &str) -> Option<Cause> {
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let pair = PAIRS.iter().find(|(subjects, ends, _)| has(subjects) && has(ends));
    let phrase = || PHRASES.iter().find(|(phrase, _)| lower.contains(phrase));
    pair.map(|(.., cause)| *cause)
        .or_else(|| phrase().map(|(_, cause)| *cause))
}

/// The cause of a failed turn.
pub(crate) fn classify(status: Option<u16>, message: &str) -> Cause {
    // A full file system is nothing that the model's provider could refill.
    let lower = message.to_lowercase().replace("disk quota", "disk space");
    let status = status.or_else(|| status_in(&lower));
    code_in(&lower)
        .or_else(|| status.and_then(of_status))
        .or_else(|| of_wording(&lower))
        // Google says so, too, if a quota is used up.
        .or_else(|| (status == Some(403)).then_some(Cause::Auth))
        .unwrap_or(Cause::AgentError)
}

/// The cause, by the name of an error; `None` if the name does not say enough.
pub(crate) fn of_code(code: &str) -> Option<Cause> {
    let mut known = CODES.iter();
    known
        .find(|(known, _)| known.eq_ignore_ascii_case(code))
        .map(|(_, cause)| *cause)
}

/// Names that are words of other sentences, too. They count only where a name is expected.
const WORDS: [&str; 5] = [
    "overloaded",
    "unauthorized",
    "unauthenticated",
    "permission_denied",
    "server_error",
];

/// What stands before a name, with a colon or an equals sign between them.
const LABELS: [&str; 5] = ["type", "code", "status", "error", "reason"];

/// The first name of an error in a sentence.
fn code_in(lower: &str) -> Option<Cause> {
    let mut at = 0;
    lower.split(|c: char| !is_word(c)).find_map(|word| {
        let start = at;
        let separator = lower.get(start + word.len()..)?.chars().next();
        at = start + word.len() + separator.map_or(0, char::len_utf8);
        let counts = word.len() > 3 && (!WORDS.contains(&word) || is_labelled(lower.get(..start)?));
        counts.then(|| of_code(word))?
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether a text ends where a name is expected: at its beginning, behind a label or a status (`401 unauthorized`).
fn is_labelled(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '"', '\\', '(', '[']);
    let last_word = before.rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
    let label = before.trim_end_matches([':', ' ', '"', '=']);
    let name = label.rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
    before.is_empty() || status_in(last_word).is_some() || (label.len() < before.len() && LABELS.contains(&name))
}

/// The cause, by the HTTP status; `None` if the status does not say enough.
fn of_status(status: u16) -> Option<Cause> {
    match status {
        401 => Some(Cause::Auth),
        402 | 429 => Some(Cause::Quota),
        500..=599 => Some(Cause::Overloaded),
        _ => None,
    }
}

/// Finds an HTTP error status written as `status 401`, `status=401`, `"code":401`, `error: 401`, `http/1.1 401`, or at
/// the beginning of the message.
fn status_in(lower: &str) -> Option<u16> {
    let first = status_at(lower);
    let named = ["status", "code", "error", "http", "http/1.1", "http/2"]
        .iter()
        .find_map(|word| {
            lower.match_indices(word).find_map(|(at, _)| {
                let (before, behind) = (lower.get(..at)?, lower.get(at + word.len()..)?);
                // That of a process.
                let is_exit = before.trim_end().ends_with("exit");
                let text = behind.trim_start_matches(['"', ':', '=', ' ', '(']);
                status_at(text).filter(|_| !is_exit)
            })
        });
    first.or(named)
}

/// The status at the beginning of a text. A number of things (`500 tests failed`, `512 of 600`) is none.
fn status_at(text: &str) -> Option<u16> {
    let (digits, behind) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let status = digits.parse().ok().filter(|status| (400..600).contains(status))?;
    let next = behind.strip_prefix(' ').and_then(|behind| behind.split(' ').next());
    let is_number =
        next.is_some_and(|next| next == "of" || (next.len() > 3 && next.ends_with('s') && next != "status"));
    let part = behind.strip_prefix(['/', '.']);
    let is_part = part.is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    (!is_number && !is_part).then_some(status)
}

#[cfg(test)]
#[path = "cause_tests.rs"]
mod tests;
