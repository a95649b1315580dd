//! What all observers share: limits and the failure on stderr.

use super::agent;
use crate::output::observer::{TEXT_LIMIT, keep_stderr, push_text};
use promptd_model::{Cause, Observation, Stream};

#[test]
fn a_long_answer_is_cut_between_characters() {
    let mut text = "x".to_owned();
    push_text(&mut text, &"é".repeat(TEXT_LIMIT));
    assert_eq!(text.len(), TEXT_LIMIT - 1);
    push_text(&mut text, "ab");
    assert!(text.ends_with("éa"));
    push_text(&mut text, "c");
    assert!(text.ends_with("éa"));
}

#[test]
fn a_line_on_stderr_with_a_known_cause_is_preferred() {
    let mut seen = Observation::default();
    keep_stderr(&mut seen, b"just chatting");
    assert_eq!(seen.failure, None);
    keep_stderr(&mut seen, b"Error: it broke");
    keep_stderr(&mut seen, b"Error: it broke further");
    assert_eq!(seen.failure, Some((Cause::AgentError, "Error: it broke".to_owned())));
    keep_stderr(&mut seen, b"status 429");
    assert_eq!(seen.failure, Some((Cause::Quota, "status 429".to_owned())));
}

/// Lines that say that a refused key is being retried, and one that shows that the agent went on.
const RETRIES: [(&str, bool, Stream, &str, &str); 8] = [
    (
        "claude",
        false,
        Stream::Stdout,
        r#"{"type":"system","subtype":"api_retry","attempt":1,"error_status":401,"error":"authentication_failed"}"#,
        r#"{"type":"stream_event","event":{"type":"message_start","message":{}}}"#,
    ),
    (
        // The name alone: some failures have no status.
        "claude",
        true,
        Stream::Stdout,
        r#"{"type":"system","subtype":"api_retry","attempt":1,"error_status":null,"error":"authentication_failed"}"#,
        r#"{"type":"assistant","message":{"content":[]}}"#,
    ),
    (
        "codex",
        false,
        Stream::Stdout,
        r#"{"type":"error","message":"Reconnecting... 1/5 (unexpected status 401 Unauthorized: no)"}"#,
        r#"{"type":"item.started","item":{"id":"1","type":"command_execution"}}"#,
    ),
    (
        "codex",
        true,
        Stream::Stdout,
        r#"{"method":"error","params":{"error":{"message":"Reconnecting... 1/5","codexErrorInfo":{"responseStreamDisconnected":{"httpStatusCode":401}}},"willRetry":true}}"#,
        r#"{"method":"item/agentMessage/delta","params":{"itemId":"1","delta":"a"}}"#,
    ),
    (
        "gemini",
        false,
        Stream::Stderr,
        r#"Attempt 1 failed with status 401. Retrying with backoff... _ApiError: {"error":{"message":"no"}}"#,
        r#"{"type":"message","role":"assistant","content":"a","delta":true}"#,
    ),
    (
        "gemini",
        true,
        Stream::Stderr,
        "Attempt 2 failed with status 401. Retrying with backoff...",
        r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"tool_call"}}}"#,
    ),
    (
        "copilot",
        false,
        Stream::Stdout,
        r#"{"type":"model.call_failure","data":{"statusCode":401,"errorMessage":"no"}}"#,
        r#"{"type":"assistant.message_delta","data":{"messageId":"1","deltaContent":"a"}}"#,
    ),
    (
        "pi",
        false,
        Stream::Stdout,
        r#"{"type":"auto_retry_start","attempt":1,"maxAttempts":3,"delayMs":2000,"errorMessage":"401 no"}"#,
        r#"{"type":"message_update","assistantMessageEvent":{"type":"text_delta","delta":"a"}}"#,
    ),
];

#[test]
fn refused_key_that_is_retried_is_known_until_the_agent_goes_on() {
    for (name, is_dialog, stream, retry, onward) in RETRIES {
        let mut observer = agent(name).observer(is_dialog).unwrap();
        if name == "gemini" && is_dialog {
            let opening = [
                r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}"#,
                r#"{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}"#,
            ];
            for line in opening {
                observer.observe_line(Stream::Stdout, line.as_bytes());
            }
        }
        observer.observe_line(stream, retry.as_bytes());
        let seen = observer.observation();
        assert_eq!(
            seen.failure.as_ref().map(|(cause, _)| *cause),
            Some(Cause::Auth),
            "{retry}"
        );
        assert!(seen.retrying, "{retry}");
        observer.observe_line(Stream::Stdout, onward.as_bytes());
        let seen = observer.observation();
        assert_eq!((&seen.failure, seen.retrying), (&None, false), "{name} {onward}");
    }
}

#[test]
fn warning_on_stderr_is_no_retry() {
    let mut seen = Observation::default();
    keep_stderr(&mut seen, b"failed to connect to the update server");
    assert_eq!((seen.failure.is_some(), seen.retrying), (true, false));
    // The retry is nearer to the end of the turn.
    keep_stderr(&mut seen, b"Attempt 1 failed with status 429. Retrying with backoff...");
    assert_eq!(seen.failure.as_ref().map(|(cause, _)| *cause), Some(Cause::Quota));
    assert!(seen.retrying);
}

#[test]
fn droid_without_a_word_could_not_reach_its_server() {
    let mut droid = agent("droid").observer(false).unwrap();
    let silent = droid.observation().silent_failure.clone();
    let (cause, words) = silent.unwrap();
    assert_eq!(cause, Cause::Network);
    assert!(words.contains("FACTORY_API_BASE_URL"), "{words}");
    droid.observe_line(Stream::Stderr, b"Invalid model: x");
    assert_eq!(droid.observation().silent_failure, None);
}

#[test]
fn server_errors_of_codex_mean_an_overloaded_model() {
    let high_demand = "We’re currently experiencing high demand, which may cause temporary errors.";
    for message in [
        high_demand,
        "unexpected status 500 Internal Server Error: no, url: http://127.0.0.1/v1/responses",
        "unexpected status 502 Bad Gateway: no",
        "exceeded retry limit, last status: 500 Internal Server Error",
    ] {
        let line = serde_json::json!({"type": "turn.failed", "error": {"message": message}});
        let event = super::final_event("codex", &line.to_string());
        assert_eq!(event.outcome, Err(Cause::Overloaded), "{message}");
    }
}
