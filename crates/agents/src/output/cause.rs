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
    ("oauth token", Cause::Auth),
    ("token has expired", Cause::Auth),
    ("token is expired", Cause::Auth),
    ("access token could not be refreshed", Cause::Auth),
    ("refresh token", Cause::Auth),
    ("sign in again", Cause::Auth),
    ("log in again", Cause::Auth),
    ("credentials have expired", Cause::Auth),
    // Anthropic answers an empty account with status 400.
    ("credit balance", Cause::Quota),
    ("out of credits", Cause::Quota),
    ("insufficient credits", Cause::Quota),
    ("usage limit", Cause::Quota),
    ("session limit", Cause::Quota),
    ("weekly limit", Cause::Quota),
    ("5-hour limit", Cause::Quota),
    ("opus limit", Cause::Quota),
    ("sonnet limit", Cause::Quota),
    ("hit your limit", Cause::Quota),
    ("spending limit", Cause::Quota),
    ("your current quota", Cause::Quota),
    ("your quota", Cause::Quota),
    ("quota exceeded", Cause::Quota),
    ("exceeded quota", Cause::Quota),
    ("daily quota", Cause::Quota),
    ("quota limit", Cause::Quota),
    ("quota will reset", Cause::Quota),
    ("out of quota", Cause::Quota),
    // Gemini, for status 429.
    ("request a quota increase", Cause::Quota),
    ("rate limit", Cause::Quota),
    ("ratelimit", Cause::Quota),
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

/// The cause of a failed turn.
pub(crate) fn classify(status: Option<u16>, message: &str) -> Cause {
    // A full file system is nothing that the model's provider could refill.
    let lower = message.to_lowercase().replace("disk quota", "disk space");
    let by_phrase = || PHRASES.iter().find(|(phrase, _)| lower.contains(phrase));
    let by_phrase = || by_phrase().map(|(_, cause)| *cause);
    let status = status.or_else(|| status_in(&lower));
    code_in(&lower)
        .or_else(|| status.and_then(of_status))
        .or_else(by_phrase)
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
const WORDS: [&str; 4] = ["overloaded", "unauthorized", "unauthenticated", "permission_denied"];

/// What stands before a name, with a colon or an equals sign between them.
const LABELS: [&str; 6] = ["type", "code", "status", "error", "reason", "failed"];

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
    let status_at = |text: &str| {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok().filter(|status| (400..600).contains(status))
    };
    let first = status_at(lower);
    let named = ["status", "code", "error", "http", "http/1.1", "http/2"]
        .iter()
        .find_map(|word| {
            lower.match_indices(word).find_map(|(at, _)| {
                status_at(
                    lower
                        .get(at + word.len()..)?
                        .trim_start_matches(['"', ':', '=', ' ', '(']),
                )
            })
        });
    first.or(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_real_agents_have_a_cause() {
        let cases = [
            (
                "unexpected status 401 Unauthorized: scripted failure, url: http://127.0.0.1/v1/responses",
                Cause::Auth,
            ),
            ("exceeded retry limit, last status: 429 Too Many Requests", Cause::Quota),
            (
                "unexpected status 529 <unknown status code>: scripted failure",
                Cause::Overloaded,
            ),
            (
                r#"[API Error: {"error":{"code":401,"message":"x","status":"UNAUTHENTICATED"}}]"#,
                Cause::Auth,
            ),
            (
                r#"[API Error: {"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]"#,
                Cause::Overloaded,
            ),
            (
                r#"[API Error: {"error":{"code":400,"message":"API key not valid."}}]"#,
                Cause::Auth,
            ),
            ("API Error: 500 scripted failure", Cause::Overloaded),
            ("API Error: 400 scripted failure", Cause::AgentError),
            ("400 scripted failure", Cause::AgentError),
            ("401 scripted failure", Cause::Auth),
            ("503 scripted failure", Cause::Overloaded),
            (
                "Failed to get response from the AI model; retried 5 times (total retry wait time: 5.00 seconds) \
                 Last error: 429 scripted failure",
                Cause::Quota,
            ),
            (
                "Authentication failed with provider at http://127.0.0.1:8377/v1 (HTTP 401).",
                Cause::Auth,
            ),
            (
                "[API Error: 429 scripted failure]\nPossible quota limitations in place or slow response times detected.",
                Cause::Quota,
            ),
            // From the real programs without a key.
            (
                "No auth type is selected. Please configure an auth type (e.g. via settings or `--auth-type`)",
                Cause::Auth,
            ),
            ("Error: No authentication information found.", Cause::Auth),
            (
                "Error: Authentication failed. Please log in using /login or set a valid FACTORY_API_KEY environment variable.",
                Cause::Auth,
            ),
            ("No API key found for the selected model.", Cause::Auth),
            ("HTTP/1.1 429 Too Many", Cause::Quota),
            ("request failed: status=503", Cause::Overloaded),
            (r#"{"type":"error","error":{"type":"rate_limit_error"}}"#, Cause::Quota),
            ("429", Cause::Quota),
            ("42 things", Cause::AgentError),
            ("exit code 1", Cause::AgentError),
            ("status 4010 of 50 codes", Cause::AgentError),
            ("", Cause::AgentError),
        ];
        for (message, cause) in cases {
            assert_eq!(classify(None, message), cause, "{message}");
        }
    }

    #[test]
    fn a_name_or_a_status_counts_more_than_wording() {
        let cases = [
            // Wording, as no status came with it.
            (None, "You've hit your session limit · resets 10:30am", Cause::Quota),
            (
                None,
                "You've hit your usage limit. Upgrade to Pro or try again at 3:45 PM.",
                Cause::Quota,
            ),
            (
                None,
                "OAuth token has expired. Please obtain a new token or refresh your existing token.",
                Cause::Auth,
            ),
            (
                Some(401),
                r#"{"type":"error","error":{"type":"authentication_error","message":"OAuth token has expired"}}"#,
                Cause::Auth,
            ),
            (
                None,
                "stream disconnected before completion: error sending request for url (https://x/v1)",
                Cause::Network,
            ),
            (
                None,
                "stream disconnected before completion: Rate limit reached for gpt-5",
                Cause::Quota,
            ),
            (None, "getaddrinfo ENOTFOUND api.example.com", Cause::Network),
            (None, "API Error: Connection error.", Cause::Network),
            (None, "connect ECONNREFUSED 127.0.0.1:443", Cause::Network),
            // Words that only look like a reason.
            (None, "EDQUOT: disk quota exceeded, write", Cause::AgentError),
            (
                None,
                "write failed: Disk quota exceeded (os error 122)",
                Cause::AgentError,
            ),
            (
                None,
                "[API Error: scripted failure]\nPlease wait and try again later. To increase your limits, request a quota \
                 increase through AI Studio, or switch to another /auth method",
                Cause::Quota,
            ),
            (None, "cannot read src/quota.rs", Cause::AgentError),
            (None, "FileNotFoundError: config.toml", Cause::AgentError),
            (None, "the context limit is reached", Cause::AgentError),
            (None, "TypeError: overloaded function has no match", Cause::AgentError),
            (None, "cannot write: permission_denied: sandbox", Cause::AgentError),
            (None, r#"{"type": "overloaded", "x":1}"#, Cause::Overloaded),
            (None, "error: 401 unauthorized", Cause::Auth),
            // A name in the middle of a sentence, against a status or wording.
            (
                Some(429),
                "engine_overloaded_error: please try again",
                Cause::Overloaded,
            ),
            (
                Some(400),
                "Your credit balance is too low to access the Anthropic API.",
                Cause::Quota,
            ),
            (Some(403), "Quota exceeded for quota metric", Cause::Quota),
            (Some(403), "you may not", Cause::Auth),
            (Some(503), "your quota is fine", Cause::Overloaded),
            (None, r#"{"error":{"code":"insufficient_quota"}}"#, Cause::Quota),
        ];
        for (status, message, cause) in cases {
            assert_eq!(classify(status, message), cause, "{message}");
        }
        assert_eq!(of_code("overloaded"), Some(Cause::Overloaded));
        assert_eq!(of_code("unknown"), None);
    }
}
