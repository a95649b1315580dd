//! Attempts that are repeated: a reader of the updates can take the void text back, and the answer does not have it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{agents_folder, translate, translator};
use crate::formats::format::Format;
use crate::{find, tests::final_event};

/// What a reader that takes void text back has at the end: the answer, and the thoughts.
fn kept(format: &Format, stream: &str) -> (String, String) {
    let mut reader = translator(format);
    let mut chunks: Vec<(Value, Value, String)> = Vec::new();
    for line in stream.lines() {
        for update in translate(&mut *reader, line.as_bytes()) {
            let (kind, id) = (update["sessionUpdate"].clone(), update["messageId"].clone());
            if kind == "_message_superseded" {
                assert!(id.is_string(), "{update}");
                chunks.retain(|(_, message, _)| *message != id);
            } else if kind.as_str().is_some_and(|kind| kind.starts_with("agent_")) {
                assert!(id.is_string(), "{update}");
                let text = update["content"]["text"].as_str().unwrap_or_default().to_owned();
                chunks.push((kind, id, text));
            }
        }
    }
    let of = |wanted: &str| {
        let chunks = chunks.iter().filter(|(kind, ..)| kind == wanted);
        chunks.map(|(.., text)| text.as_str()).collect()
    };
    (of("agent_message_chunk"), of("agent_thought_chunk"))
}

fn stream(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn format_of(agent: &str) -> &'static Format {
    find(agent).unwrap().format
}

fn event(event: &Value) -> Value {
    json!({"type": "stream_event", "event": event, "parent_tool_use_id": null})
}

/// An attempt of claude: a thought, and a text that may not be complete. All of them have the same id.
fn attempt(words: &[&str], is_complete: bool) -> Vec<Value> {
    let whole = |block: Value| json!({"type": "assistant", "message": {"id": "msg", "content": [block]}});
    let block = |index: u64, kind: &str| {
        event(&json!({"type": "content_block_start", "index": index, "content_block": {"type": kind}}))
    };
    let mut lines = vec![
        event(&json!({"type": "message_start", "message": {"id": "msg"}})),
        block(0, "thinking"),
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm "}}),
        ),
        whole(json!({"type": "thinking", "thinking": "hm "})),
        block(1, "text"),
    ];
    lines.extend(words.iter().map(|word| {
        event(&json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": word}}))
    }));
    let mut stop = event(&json!({"type": "message_stop"}));
    if is_complete {
        lines.push(whole(json!({"type": "text", "text": words.concat()})));
    } else {
        // It is beside the event, not in it.
        stop["abandoned_blocks"] = json!({"api_message_id": "msg", "from_block_index": 1});
    }
    lines.push(stop);
    lines
}

#[test]
fn claudes_abandoned_blocks_are_void() {
    let lines = [
        attempt(&["one ", "two "], false),
        attempt(&["one ", "two "], false),
        attempt(&["one ", "two ", "three"], true),
    ];
    let (answer, thoughts) = kept(format_of("claude"), &stream(&lines.concat()));
    assert_eq!(answer, "one two three");
    // The thoughts became complete each time.
    assert_eq!(thoughts, "hm hm hm ");
}

/// Real agents whose connection to the model broke twice in the middle of the answer.
#[test]
fn answers_of_real_agents_after_broken_connections_come_once() {
    for agent in ["claude", "copilot", "opencode", "pi"] {
        let path = agents_folder().join("recorded").join(format!("{agent}-cut.ndjson"));
        let recording = std::fs::read_to_string(path).unwrap();
        assert_eq!(kept(format_of(agent), &recording).0, "one two three", "{agent}");
        assert_eq!(
            final_event(agent, &recording).result.as_deref(),
            Some("one two three"),
            "{agent}"
        );
    }
}

#[test]
fn messages_with_the_same_id_are_told_apart() {
    let said = [
        attempt(&["I look. "], true),
        attempt(&["All "], false),
        attempt(&["All fine."], true),
    ];
    let (answer, _) = kept(format_of("claude"), &stream(&said.concat()));
    assert_eq!(answer, "I look. All fine.");
}

#[test]
fn qwens_text_is_void_unless_the_model_continues_it() {
    let retry =
        |keeps: bool| json!({"type": "system", "subtype": "retry", "data": {"reason": "retry", "preserveText": keeps}});
    let mut first = attempt(&["one ", "two "], false);
    first.pop();
    // Qwen completes the void message before it starts another one.
    let complete =
        json!({"type": "assistant", "message": {"id": "msg", "content": [{"type": "text", "text": "one two "}]}});
    let anew = [
        first.clone(),
        vec![retry(false), complete],
        attempt(&["one two three"], true),
    ];
    assert_eq!(kept(format_of("qwen"), &stream(&anew.concat())).0, "one two three");
    let more = attempt(&["one ", "two ", "three"], true).split_off(7);
    let continued = [first, vec![retry(true)], more];
    assert_eq!(kept(format_of("qwen"), &stream(&continued.concat())).0, "one two three");
}

#[test]
fn an_abandoned_call_has_failed() {
    let lines = [
        event(&json!({"type": "message_start", "message": {"id": "msg"}})),
        event(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "c", "name": "Bash"}}),
        ),
        json!({"type": "stream_event", "event": {"type": "message_stop"}, "abandoned_blocks": {"from_block_index": 0}}),
    ];
    let mut reader = translator(format_of("claude"));
    let updates: Vec<Value> = lines
        .iter()
        .flat_map(|line| translate(&mut *reader, line.to_string().as_bytes()))
        .collect();
    let kinds: Vec<_> = updates
        .iter()
        .map(|update| (&update["sessionUpdate"], &update["status"]))
        .collect();
    assert_eq!(
        kinds,
        [
            (&json!("tool_call"), &Value::Null),
            (&json!("tool_call_update"), &json!("failed"))
        ]
    );
}

#[test]
fn an_answer_that_starts_over_after_a_cut_is_void() {
    let cut = "Your response above was cut off mid-stream and only your next message is delivered. Write the complete \
               response again from the start.";
    let user = json!({"type": "user", "isSynthetic": true, "message": {"role": "user", "content": cut}});
    let lines = [attempt(&["one "], true), vec![user], attempt(&["one two"], true)];
    let (answer, _) = kept(format_of("claude"), &stream(&lines.concat()));
    assert_eq!(answer, "one two");
}

#[test]
fn geminis_repeated_chunks_are_void_and_no_answer() {
    let chunk = |second: u32, text: &str| {
        let time = format!("2026-11-21T04:13:{second:02}.000Z");
        json!({"type": "message", "timestamp": time, "role": "assistant", "content": text, "delta": true})
    };
    let lines = [
        json!({"type": "init", "session_id": "s", "model": "m"}),
        chunk(1, "one "),
        chunk(1, "two "),
        chunk(2, "one "),
        chunk(2, "two "),
        chunk(4, "one "),
        chunk(4, "two "),
        chunk(4, "three"),
        json!({"type": "result", "status": "success", "stats": {"input_tokens": 1, "output_tokens": 1}}),
    ];
    let text = stream(&lines);
    assert_eq!(kept(format_of("gemini"), &text).0, "one two three");
    assert_eq!(final_event("gemini", &text).result.as_deref(), Some("one two three"));
}

#[test]
fn opencodes_repeated_step_is_void_and_no_answer() {
    let line = |kind: &str, part: Value| json!({"type": kind, "sessionID": "s", "part": part});
    let text = |id: &str, text: &str| line("text", json!({"id": id, "text": text}));
    let lines = [
        line("step_start", json!({})),
        text("p1", "I look. "),
        line("step_finish", json!({"reason": "stop"})),
        line("step_start", json!({})),
        text("p2", "one "),
        line("step_start", json!({})),
        text("p3", "one two"),
        line("step_finish", json!({"reason": "stop"})),
    ];
    let text = stream(&lines);
    assert_eq!(kept(format_of("opencode"), &text).0, "I look. one two");
    assert_eq!(
        final_event("opencode", &text).result.as_deref(),
        Some("I look. one two")
    );
}

#[test]
fn copilots_retried_request_is_void() {
    let line = |kind: &str, data: Value| json!({"type": kind, "data": data});
    let delta = |id: &str, text: &str| {
        line(
            "assistant.message_delta",
            json!({"messageId": id, "deltaContent": text}),
        )
    };
    let lines = [
        delta("a", "one "),
        line(
            "model.call_failure",
            json!({"statusCode": 503, "errorMessage": "broken"}),
        ),
        line("assistant.turn_retry", json!({"turnId": "0"})),
        delta("b", "one "),
        delta("b", "two"),
        line("assistant.message", json!({"messageId": "b", "content": "one two"})),
    ];
    assert_eq!(kept(format_of("copilot"), &stream(&lines)).0, "one two");
}

#[test]
fn pis_retried_answer_is_void() {
    let line = |kind: &str, message: Value| json!({"type": kind, "message": message});
    let delta =
        |text: &str| json!({"type": "message_update", "assistantMessageEvent": {"type": "text_delta", "delta": text}});
    let answer = |error: Value| json!({"role": "assistant", "content": [{"type": "text", "text": "one two"}], "usage": {}, "errorMessage": error, "stopReason": "stop"});
    let lines = [
        line("message_start", json!({"role": "assistant"})),
        delta("one "),
        line("message_end", answer(json!("terminated"))),
        json!({"type": "agent_end"}),
        json!({"type": "auto_retry_start", "attempt": 1, "maxAttempts": 3, "delayMs": 2000, "errorMessage": "terminated"}),
        line("message_start", json!({"role": "assistant"})),
        delta("one "),
        delta("two"),
        line("message_end", answer(Value::Null)),
        json!({"type": "agent_end"}),
    ];
    let text = stream(&lines);
    assert_eq!(kept(format_of("pi"), &text).0, "one two");
    assert_eq!(final_event("pi", &text).result.as_deref(), Some("one two"));
}

#[test]
fn codexs_retried_message_is_void() {
    let format = find("codex").unwrap().dialog.as_ref().unwrap().format;
    let note = |method: &str, params: Value| json!({"method": method, "params": params});
    let delta = |id: &str, text: &str| note("item/agentMessage/delta", json!({"itemId": id, "delta": text}));
    let lines = [
        delta("a", "one "),
        note(
            "error",
            json!({"willRetry": true, "error": {"message": "Reconnecting... 1/5"}}),
        ),
        delta("b", "one "),
        delta("b", "two"),
        note(
            "item/completed",
            json!({"item": {"id": "b", "type": "agentMessage", "text": "one two"}}),
        ),
    ];
    assert_eq!(kept(format, &stream(&lines)).0, "one two");
}

#[test]
fn texts_that_claude_writes_to_itself_are_not_the_users() {
    let user = |line: Value| {
        let mut user = json!({"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": "x"}]}});
        for (key, value) in line.as_object().unwrap() {
            user[key] = value.clone();
        }
        user
    };
    let says = |text: &str| json!({"message": {"role": "user", "content": text}});
    let mut lines = attempt(&["answer"], true);
    lines.extend(
        [
            json!({"isSynthetic": true}),
            json!({"isMeta": true}),
            says("[Request interrupted by user]"),
            says("[Request interrupted by user for tool use]"),
            says("Your response above was cut off mid-stream. Resume directly from where it stops."),
            says("<task-notification>done</task-notification>"),
        ]
        .map(user),
    );
    let mut reader = translator(format_of("claude"));
    let updates = stream(&lines);
    let kinds: BTreeSet<String> = updates
        .lines()
        .flat_map(|line| translate(&mut *reader, line.as_bytes()))
        .map(|update| update["sessionUpdate"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["_raw", "agent_message_chunk", "agent_thought_chunk"];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}
