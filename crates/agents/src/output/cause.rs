//! Classifies why a request to the model failed, by what agents report: an HTTP status, or a sentence.

use promptd_model::Cause;

/// Phrases that are more precise than the HTTP status, or come without one. Lower case.
const PHRASES: [(&str, Cause); 24] = [
    ("not logged in", Cause::Auth),
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
    ("unauthenticated", Cause::Auth),
    // An ACP agent without a login.
    ("authentication required", Cause::Auth),
    // Anthropic answers an empty account with status 400.
    ("credit balance", Cause::Quota),
    ("usage limit", Cause::Quota),
    ("quota", Cause::Quota),
    ("rate limit", Cause::Quota),
    ("rate_limit", Cause::Quota),
    ("too many requests", Cause::Quota),
    ("resource_exhausted", Cause::Quota),
    ("overloaded", Cause::Overloaded),
    ("at capacity", Cause::Overloaded),
];

/// The cause of a failed request: by the message, else by the status.
pub(crate) fn classify(status: Option<u16>, message: &str) -> Cause {
    let lower = message.to_lowercase();
    let by_phrase = PHRASES
        .iter()
        .find(|(phrase, _)| lower.contains(phrase))
        .map(|(_, cause)| *cause);
    by_phrase
        .or_else(|| status.or_else(|| status_in(&lower)).map(of_status))
        .unwrap_or(Cause::AgentError)
}

fn of_status(status: u16) -> Cause {
    match status {
        401 | 403 => Cause::Auth,
        402 | 429 => Cause::Quota,
        500..=599 => Cause::Overloaded,
        _ => Cause::AgentError,
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
    fn phrases_count_before_status_numbers() {
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
}
