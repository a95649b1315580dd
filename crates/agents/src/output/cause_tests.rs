//! Which cause a text has.

use super::*;

#[test]
fn words_and_numbers_of_the_work_are_no_cause() {
    for message in [
        "500 tests failed in src/",
        "429 files were changed",
        "error 512 of 600",
        "error 429/500",
        "exit code 500",
        "I could not write the rate limit middleware",
        "the session limit of the app is wrong",
        "your quota tests fail",
        "fix the refresh token rotation failed",
        "the oauth token page has no test",
        "git push failed: permission_denied",
        "the page says server_error in app/x.rb",
    ] {
        assert_eq!(classify(None, message), Cause::AgentError, "{message}");
    }
    for (message, cause) in [
        ("500 Internal Server Error", Cause::Overloaded),
        ("429 Too Many Requests", Cause::Quota),
        ("Rate limit reached for gpt-5 in organization", Cause::Quota),
        ("You've reached your weekly limit", Cause::Quota),
        ("You exceeded your current quota, please check your plan", Cause::Quota),
        ("refresh token was revoked", Cause::Auth),
        ("error: server_error", Cause::Overloaded),
    ] {
        assert_eq!(classify(None, message), cause, "{message}");
    }
}

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
