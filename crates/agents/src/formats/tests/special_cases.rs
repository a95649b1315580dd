//! Single lines of copilot, opencode, pi and qwen that need special treatment.

use serde_json::{Value, json};

use super::{text, updates};
use crate::formats::app_server::APP_SERVER;
use crate::formats::copilot_json::COPILOT_JSON;
use crate::formats::format::Format;
use crate::formats::pi_json::PI_JSON;
use crate::formats::qwen_stream_json::QWEN_STREAM_JSON;
use crate::tests::{final_event, observe, recorded};
use promptd_model::{Cause, StopReason, Stream};

#[test]
fn copilot_an_aborted_turn_is_no_success() {
    assert_eq!(observe("copilot", recorded!("copilot-interrupt")).final_event, None);
    let by_sigterm = format!(
        "{}{}",
        recorded!("copilot-interrupt"),
        r#"{"type":"result","sessionId":"s","exitCode":0}"#
    );
    let event = final_event("copilot", &by_sigterm);
    assert_eq!(
        (event.outcome, event.stop_reason),
        (Err(Cause::AgentError), Some(StopReason::Cancelled))
    );
}

#[test]
fn copilot_an_answer_without_chunks_is_one_update() {
    let whole = r#"{"type":"assistant.message","data":{"messageId":"m","content":"All of it."}}"#;
    assert_eq!(
        text(&updates(&COPILOT_JSON, whole), "agent_message_chunk"),
        "All of it."
    );
}

/// The text that a reader has who follows the updates: void chunks are taken back.
pub(super) fn text_of_reader(updates: &[Value]) -> String {
    let mut chunks: Vec<(&str, &str)> = Vec::new();
    for update in updates {
        let id = update["messageId"].as_str().unwrap_or_default();
        match update["sessionUpdate"].as_str() {
            Some("agent_message_chunk") => chunks.push((id, update["content"]["text"].as_str().unwrap())),
            Some("_message_superseded") => chunks.retain(|(of, _)| *of != id),
            _ => {}
        }
    }
    chunks.into_iter().map(|(_, text)| text).collect()
}

/// A chunk, or the complete message.
type Line<'a> = &'a dyn Fn(Option<&str>) -> Value;

#[test]
fn complete_message_has_what_its_chunks_did_not_have() {
    let copilot = |chunk: Option<&str>| match chunk {
        Some(chunk) => json!({"type": "assistant.message_delta", "data": {"messageId": "m", "deltaContent": chunk}}),
        None => json!({"type": "assistant.message", "data": {"messageId": "m", "content": "one two three"}}),
    };
    let codex = |chunk: Option<&str>| {
        if let Some(chunk) = chunk {
            return json!({"method": "item/agentMessage/delta", "params": {"itemId": "m", "delta": chunk}});
        }
        let item = json!({"type": "agentMessage", "id": "m", "text": "one two three"});
        json!({"method": "item/completed", "params": {"item": item}})
    };
    let pi = |chunk: Option<&str>| {
        if let Some(chunk) = chunk {
            return json!({"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": chunk}});
        }
        let content = json!([{"type": "text", "text": "one "}, {"type": "text", "text": "two three"}]);
        json!({"type": "message_end", "message": {"role": "assistant", "content": content, "usage": {}}})
    };
    let agents: [(&Format, Line<'_>); 3] = [(&COPILOT_JSON, &copilot), (&APP_SERVER, &codex), (&PI_JSON, &pi)];
    for (format, line) in agents {
        for chunks in [
            &["one ", "two ", "three"][..],
            &["one ", "two "],
            &["one "],
            &["one ", "three"],
            &["two ", "three"],
            &["three"],
            &[],
        ] {
            let lines = chunks.iter().map(|chunk| line(Some(chunk))).chain([line(None)]);
            let stdout: Vec<String> = lines.map(|line| line.to_string()).collect();
            let updates = updates(format, &stdout.join("\n"));
            assert_eq!(text_of_reader(&updates), "one two three", "{} {chunks:?}", format.name);
            // Nothing is said twice where only the end is missing.
            let is_void = updates
                .iter()
                .any(|update| update["sessionUpdate"] == "_message_superseded");
            assert_eq!(
                is_void,
                !"one two three".starts_with(&chunks.concat()),
                "{} {chunks:?}",
                format.name
            );
        }
    }
}

#[test]
fn copilot_a_message_without_an_id_is_new() {
    let mut translator = COPILOT_JSON.new_translator().unwrap();
    for kind in ["assistant.message", "assistant.reasoning"] {
        let line = format!(r#"{{"type":"{kind}","data":{{"content":"said"}}}}"#);
        assert_eq!(
            translator.translate_line(line.as_bytes()).map(|updates| updates.len()),
            Some(1),
            "{kind}"
        );
    }
}

#[test]
fn opencode_a_turn_that_stops_after_a_tool_has_no_final_event() {
    let without_the_answer: String = recorded!("opencode-tool").split_inclusive('\n').take(4).collect();
    assert_eq!(observe("opencode", &without_the_answer).final_event, None);
}

#[test]
fn opencode_a_missing_key_is_known_by_the_name_of_the_error() {
    let line =
        r#"{"type":"error","error":{"name":"ProviderAuthError","data":{"providerID":"x","message":"log in first"}}}"#;
    assert_eq!(final_event("opencode", line).outcome, Err(Cause::Auth));
}

#[test]
fn pi_a_retry_follows_an_end() {
    let tried_again = format!(
        "{}{}",
        recorded!("pi-429"),
        r#"{"type":"auto_retry_start","attempt":1}"#
    );
    assert_eq!(observe("pi", &tried_again).final_event, None);
}

#[test]
fn pi_since_its_new_name_repeats_no_text_in_its_chunks() {
    // Written by 1.6.0, shortened.
    let lines = [
        r#"{"type":"message_start","message":{"role":"system","content":"","sections":{"preamble":"You are pi."}}}"#,
        r#"{"type":"message_end","message":{"role":"system","content":"","sections":{"preamble":"You are pi."}}}"#,
        r#"{"type":"message_update","usage":{"input":0},"assistantMessageEvent":{"type":"text_start","contentIndex":0}}"#,
        r#"{"type":"message_update","usage":{"input":0},"assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"one "}}"#,
        r#"{"type":"message_update","usage":{"input":0},"assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"two"}}"#,
        r#"{"type":"message_end","message":{"role":"assistant","content":[{"type":"text","text":"one two"}],"usage":{"input":10,"output":5,"cacheRead":0,"cacheWrite":0,"reasoning":0},"stopReason":"stop","rawStopReason":"stop","durationMs":348}}"#,
        r#"{"type":"agent_end","messages":[{"role":"system","content":""}]}"#,
        r#"{"type":"agent_settled","aborted":false}"#,
    ];
    let stdout = lines.join("\n");
    let event = final_event("pi", &stdout);
    assert_eq!((event.outcome, event.result.as_deref()), (Ok(()), Some("one two")));
    let updates = updates(&PI_JSON, &stdout);
    assert_eq!(text(&updates, "agent_message_chunk"), "one two");
    assert!(
        !updates.iter().any(|update| update["sessionUpdate"] == "_raw"),
        "{updates:?}"
    );
}

#[test]
fn qwen_an_unknown_session_is_no_final_event() {
    let mut observer = QWEN_STREAM_JSON.new_observer().unwrap();
    observer.observe_line(
        Stream::Stderr,
        b"No saved session found with ID 0198d0b4-0000-4000-8000-0000000000ff.",
    );
    assert_eq!(observer.observation().final_event, None);
    assert_eq!(observer.observation().agent_session_id, None);
}

#[test]
fn qwen_reaching_max_turns_is_a_failure_with_a_stop_reason() {
    let mut observer = QWEN_STREAM_JSON.new_observer().unwrap();
    observer.observe_line(
        Stream::Stderr,
        b"Reached max session turns for this session. Increase the number of turns by specifying maxSessionTurns in settings.json.",
    );
    let event = observer.observation().final_event.clone().unwrap();
    assert_eq!(event.outcome, Err(Cause::AgentError));
    assert_eq!(event.stop_reason, Some(StopReason::MaxTurnRequests));
    assert!(event.error.unwrap().starts_with("Reached max session turns"));
}
