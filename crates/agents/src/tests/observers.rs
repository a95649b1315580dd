//! What holds for all observers: limits, the failure on stderr, and that no output can harm them.

use proptest::prelude::*;

use super::recorded;
use crate::built_in_agents;
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

/// A line like an event of some agent, with unusual values.
fn event_like() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![
        "system",
        "result",
        "assistant",
        "thread.started",
        "turn.completed",
        "turn.failed",
        "item.completed",
        "error",
        "init",
        "message",
        "tool_use",
        "text",
        "step_finish",
        "completion",
        "reasoning",
        "tool_result",
        "assistant.message",
        "session.error",
        "tool.execution_complete",
        "message_update",
        "message_end",
        "agent_end",
        "complete",
    ]);
    let key = prop::sample::select(vec![
        "subtype",
        "session_id",
        "thread_id",
        "is_error",
        "result",
        "errors",
        "stop_reason",
        "error",
        "item",
        "usage",
        "stats",
        "message",
        "content",
        "role",
        "status",
        "model_usage_since_last_result",
        "api_error_status",
        "part",
        "data",
        "exitCode",
        "sessionId",
        "assistantMessageEvent",
        "isError",
        "value",
    ]);
    let value = prop::sample::select(vec![
        "null",
        "true",
        "-1",
        "1e400",
        "18446744073709551616",
        "\"\"",
        "\"success\"",
        "\"\\ud800\"",
        "[]",
        "[[{}]]",
        "{}",
        "{\"type\":3}",
        "{\"message\":null}",
        "{\"input_tokens\":-5}",
        "{\"m\":{\"costUSD\":\"x\"}}",
    ]);
    (kind, prop::collection::vec((key, value), 0..6)).prop_map(|(kind, fields)| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!(",\"{key}\":{value}"))
            .collect();
        let fields = fields.concat();
        format!("{{\"type\":\"{kind}\"{fields}}}").into_bytes()
    })
}

/// A recorded stream with one byte changed and its end removed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let streams = vec![
        recorded!("claude-tool"),
        recorded!("codex-tool"),
        recorded!("copilot-tool"),
        recorded!("droid-tool"),
        recorded!("gemini-tool"),
        recorded!("opencode-tool"),
        recorded!("pi-tool"),
        recorded!("qwen-tool"),
    ];
    (
        prop::sample::select(streams),
        any::<prop::sample::Index>(),
        any::<u8>(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(stream, at, byte, end)| {
            let mut bytes = stream.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(end.index(bytes.len()));
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_output_makes_an_observer_panic_or_keep_too_much(
        chunks in prop::collection::vec(
            prop_oneof![event_like(), damaged(), prop::collection::vec(any::<u8>(), 0..200)], 0..20)
    ) {
        for agent in built_in_agents() {
            let Some(mut observer) = agent.format.observer.map(|new| new()) else { continue };
            let mut translator = agent.format.translator.map(|new| new());
            for line in chunks.iter().flat_map(|chunk| chunk.split(|byte| *byte == b'\n')) {
                if let Some(translator) = &mut translator {
                    translator.translate_line(line);
                }
                observer.observe_line(Stream::Stdout, line);
                observer.observe_line(Stream::Stderr, line);
                prop_assert!(!observer.observation().last_line_known);
            }
            if let Some(event) = &observer.observation().final_event {
                let kept = event.result.as_ref().or(event.error.as_ref()).map_or(0, String::len);
                prop_assert!(kept <= TEXT_LIMIT);
            }
        }
    }
}
