//! Details of claude's stream.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{text, updates};
use crate::Observer;
use crate::formats::claude::{CLAUDE_STREAM_JSON, ClaudeObserver};
use crate::tests::recorded;
use promptd_model::{Cause, Observation, StopReason, Stream};

const BACKGROUND: &str = recorded!("claude-background");
const SUBAGENT: &str = recorded!("claude-subagent");

fn stream(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn delta(kind: &str, piece: &str) -> Value {
    let key = if kind == "text_delta" { "text" } else { "thinking" };
    json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": kind, key: piece}}})
}

fn message(blocks: &Value) -> Value {
    json!({"type": "assistant", "message": {"content": blocks}, "parent_tool_use_id": null})
}

/// The observation after each line.
fn observations(stream: &str) -> Vec<Observation> {
    let mut observer = ClaudeObserver::default();
    let lines = stream.lines().map(|line| {
        observer.observe_line(Stream::Stdout, line.as_bytes());
        observer.observation().clone()
    });
    lines.collect()
}

#[test]
fn claude_is_busy_while_a_background_task_runs() {
    let seen = observations(BACKGROUND);
    let results: Vec<usize> = (0..seen.len())
        .filter(|at| BACKGROUND.lines().nth(*at).unwrap().contains(r#""type":"result""#))
        .collect();
    let [first, last] = results.as_slice() else {
        panic!("{results:?}")
    };
    assert_eq!(*last, seen.len() - 1);
    assert!(seen[*first].final_event.is_some());
    // For a moment after the end of a task and before the next request, claude is not busy.
    let idle: Vec<usize> = (*first..*last).filter(|at| !seen[*at].busy).collect();
    assert!(idle.len() <= 2, "{idle:?}");
    assert!(seen[*first].busy && !seen[*last].busy);
}

#[test]
fn finished_and_foreground_tasks_are_not_busy() {
    let system = |subtype: &str, more: &Value| {
        let mut line = json!({"type": "system", "subtype": subtype});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let busy = |lines: &[Value]| observations(&stream(lines)).last().unwrap().busy;
    let started = system("task_started", &json!({"task_id": "a"}));
    let ended = system("task_notification", &json!({"task_id": "a", "status": "completed"}));
    assert!(busy(std::slice::from_ref(&started)));
    assert!(!busy(&[started.clone(), ended]));
    assert!(!busy(&[
        started,
        system("background_tasks_changed", &json!({"tasks": []}))
    ]));
    assert!(!busy(&[system(
        "task_started",
        &json!({"task_id": "a", "is_backgrounded": false})
    )]));
}

#[test]
fn a_turn_without_background_work_is_not_busy() {
    let plain = recorded!("claude-tool");
    assert!(!observations(plain).last().unwrap().busy);
}

#[test]
fn updates_of_subagents_are_marked() {
    let updates = updates(&CLAUDE_STREAM_JSON, SUBAGENT);
    assert_eq!(text(&updates, "agent_message_chunk"), "The subagent looked. Again. ");
    let subagents: Vec<&str> = updates
        .iter()
        .filter(|update| update["_meta"]["parent_tool_use_id"] == "toolu_1")
        .map(|update| update["sessionUpdate"].as_str().unwrap())
        .collect();
    let expected = [
        "agent_message_chunk",
        "tool_call",
        "tool_call_update",
        "agent_message_chunk",
    ];
    assert_eq!(subagents, expected);
}

#[test]
fn a_message_with_an_unknown_block_stays_as_raw() {
    let line = message(&json!([{"type": "text", "text": "a"}, {"type": "new", "b": 1}]));
    let updates = updates(&CLAUDE_STREAM_JSON, &line.to_string());
    assert_eq!(updates[0]["content"]["text"], "a");
    assert_eq!(updates[1]["line"], line.to_string());
}

#[test]
fn the_answer_of_a_command_is_in_the_result() {
    let alone = r#"{"type":"result","subtype":"success","is_error":false,"num_turns":0,"result":"Total cost: $0"}"#;
    let all = updates(&CLAUDE_STREAM_JSON, alone);
    assert_eq!(text(&all, "agent_message_chunk"), "Total cost: $0");
    let after = format!("{}\n{alone}", message(&json!([{"type": "text", "text": "x"}])));
    assert_eq!(text(&updates(&CLAUDE_STREAM_JSON, &after), "agent_message_chunk"), "x");
}

#[test]
fn only_the_first_user_text_is_the_prompt() {
    let user = |text: &str| json!({"type": "user", "message": {"content": [{"type": "text", "text": text}]}});
    let text_line = message(&json!([{"type": "text", "text": "x"}]));
    let lines = stream(&[user("the prompt"), text_line, user("another one")]);
    let updates = updates(&CLAUDE_STREAM_JSON, &lines);
    assert_eq!(text(&updates, "user_message_chunk"), "another one");
}

#[test]
fn a_user_text_after_a_tool_call_is_an_update() {
    let user = |text: &str| json!({"type": "user", "message": {"content": [{"type": "text", "text": text}]}});
    let call = message(&json!([{"type": "tool_use", "id": "a", "name": "Bash", "input": {}}]));
    let lines = stream(&[user("the prompt"), call, user("another one")]);
    let updates = updates(&CLAUDE_STREAM_JSON, &lines);
    assert_eq!(text(&updates, "user_message_chunk"), "another one");
}

/// Older versions write no `is_error` here, and other programs write `error`.
#[test]
fn a_subtype_of_error_is_a_failure() {
    let last = |line: &str| observations(line).last().unwrap().final_event.clone().unwrap();
    let other =
        last(r#"{"type":"result","subtype":"error_during_execution","is_error":true,"error":"Rate limit exceeded"}"#);
    assert_eq!(other.outcome, Err(Cause::Quota));
    assert_eq!(other.error.as_deref(), Some("Rate limit exceeded"));
    let old = last(r#"{"type":"result","subtype":"error_max_turns","is_error":false,"num_turns":3}"#);
    assert_eq!(old.outcome, Err(Cause::AgentError));
    assert_eq!(old.stop_reason, Some(StopReason::MaxTurnRequests));
}

/// A text, cut into pieces.
pub(super) fn cut(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(characters.len() + 1)).collect();
    ends.extend([0, characters.len()]);
    ends.sort_unstable();
    ends.windows(2)
        .map(|pair| characters[pair[0]..pair[1]].iter().collect())
        .collect()
}

proptest! {
    #[test]
    fn a_message_is_sent_once_for_all_cuts_into_chunks_and_blocks(
        words in "[abé ]{0,12}",
        pieces in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        blocks in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        sent in any::<prop::sample::Index>(),
        thoughts in any::<bool>(),
    ) {
        let (delta_kind, block_kind, key, update) = if thoughts {
            ("thinking_delta", "thinking", "thinking", "agent_thought_chunk")
        } else {
            ("text_delta", "text", "text", "agent_message_chunk")
        };
        let pieces = cut(&words, &pieces);
        let blocks: Vec<Value> = cut(&words, &blocks)
            .iter()
            .map(|block| json!({"type": block_kind, key: block}))
            .collect();
        // All chunks, some of them, or none: the message adds the rest.
        let sent = sent.index(pieces.len() + 1);
        let mut lines: Vec<Value> = pieces[..sent].iter().map(|piece| delta(delta_kind, piece)).collect();
        lines.push(message(&Value::Array(blocks)));
        let twice = [lines.clone(), lines].concat();
        prop_assert_eq!(text(&updates(&CLAUDE_STREAM_JSON, &stream(&twice)), update), words.repeat(2));
    }
}

#[test]
fn a_character_that_is_cut_between_chunks_comes_once() {
    let delta = |text: &str| {
        let delta = format!(r#"{{"type":"text_delta","text":"{text}"}}"#);
        format!(r#"{{"type":"stream_event","event":{{"type":"content_block_delta","index":0,"delta":{delta}}}}}"#)
    };
    let whole =
        |text: &str| format!(r#"{{"type":"assistant","message":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#);
    let joined = [delta(r"one \ud83d"), delta(r"\ude00 two"), whole("one 😀 two")].join("\n");
    assert_eq!(
        text(&updates(&CLAUDE_STREAM_JSON, &joined), "agent_message_chunk"),
        "one 😀 two"
    );
    let cut = [delta(r"one \ud83d"), whole(r"one \ud83d")].join("\n");
    assert_eq!(
        text(&updates(&CLAUDE_STREAM_JSON, &cut), "agent_message_chunk"),
        "one \u{fffd}"
    );
}
