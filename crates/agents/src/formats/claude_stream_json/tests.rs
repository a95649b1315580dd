//! What Claude's recordings do not show by themselves.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::tests::{text, updates};
use super::*;
use crate::Observer;
use promptd_model::{Cause, Observation, StopReason, Stream};

const BACKGROUND: &str = include_str!("../../../../../tests/agents/recorded/claude-background.ndjson");
const SUBAGENT: &str = include_str!("../../../../../tests/agents/recorded/claude-subagent.ndjson");

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

/// What is known after each line.
fn observations(stream: &str) -> Vec<Observation> {
    let mut observer = Reader::default();
    let lines = stream.lines().map(|line| {
        observer.line(Stream::Stdout, line.as_bytes());
        observer.observation().clone()
    });
    lines.collect()
}

#[test]
fn an_agent_is_busy_from_its_result_to_the_next_while_a_background_task_runs() {
    let seen = observations(BACKGROUND);
    let results: Vec<usize> = (0..seen.len())
        .filter(|at| BACKGROUND.lines().nth(*at).unwrap().contains(r#""type":"result""#))
        .collect();
    let [first, last] = results.as_slice() else {
        panic!("{results:?}")
    };
    assert_eq!(*last, seen.len() - 1);
    assert!(seen[*first].final_event.is_some());
    // Between its notification and the model's next request a task is over and nothing has begun: that is a moment.
    let idle: Vec<usize> = (*first..*last).filter(|at| !seen[*at].busy).collect();
    assert!(idle.len() <= 2, "{idle:?}");
    assert!(seen[*first].busy && !seen[*last].busy);
}

#[test]
fn a_foreground_task_and_one_that_has_ended_leave_nobody_busy() {
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
fn a_turn_without_background_work_is_never_busy_after_its_result() {
    let plain = include_str!("../../../../../tests/agents/recorded/claude-tool.ndjson");
    assert!(!observations(plain).last().unwrap().busy);
}

#[test]
fn a_subagents_words_are_marked_and_never_the_agents_own() {
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
fn a_block_that_nobody_knows_is_passed_on_beside_what_is_known() {
    let line = message(&json!([{"type": "text", "text": "a"}, {"type": "new", "b": 1}]));
    let updates = updates(&CLAUDE_STREAM_JSON, &line.to_string());
    assert_eq!(updates[0]["content"]["text"], "a");
    assert_eq!(updates[1]["line"], line.to_string());
}

#[test]
fn the_answer_of_a_command_that_asks_no_model_stands_in_the_result_alone() {
    let alone = r#"{"type":"result","subtype":"success","is_error":false,"num_turns":0,"result":"Total cost: $0"}"#;
    let said = updates(&CLAUDE_STREAM_JSON, alone);
    assert_eq!(text(&said, "agent_message_chunk"), "Total cost: $0");
    let after = format!("{}\n{alone}", message(&json!([{"type": "text", "text": "x"}])));
    assert_eq!(text(&updates(&CLAUDE_STREAM_JSON, &after), "agent_message_chunk"), "x");
}

#[test]
fn the_prompts_echo_is_passed_over_and_later_remarks_to_the_model_are_not() {
    let user = |text: &str| json!({"type": "user", "message": {"content": [{"type": "text", "text": text}]}});
    let said = message(&json!([{"type": "text", "text": "x"}]));
    let lines = stream(&[user("the prompt"), said, user("[Request interrupted by user]")]);
    let updates = updates(&CLAUDE_STREAM_JSON, &lines);
    assert_eq!(text(&updates, "user_message_chunk"), "[Request interrupted by user]");
}

#[test]
fn a_remark_behind_an_agent_that_has_called_a_tool_and_said_nothing_is_no_echo() {
    let user = |text: &str| json!({"type": "user", "message": {"content": [{"type": "text", "text": text}]}});
    let call = message(&json!([{"type": "tool_use", "id": "a", "name": "Bash", "input": {}}]));
    let lines = stream(&[user("the prompt"), call, user("[Request interrupted by user]")]);
    let updates = updates(&CLAUDE_STREAM_JSON, &lines);
    assert_eq!(text(&updates, "user_message_chunk"), "[Request interrupted by user]");
}

/// The words of Amp's result: <https://ampcode.com/manual/appendix>; older versions of Claude's write no `is_error` here.
#[test]
fn a_result_is_a_failure_by_its_subtype_too_and_says_why_in_its_writers_words() {
    let last = |line: &str| observations(line).last().unwrap().final_event.clone().unwrap();
    let amp =
        last(r#"{"type":"result","subtype":"error_during_execution","is_error":true,"error":"Rate limit exceeded"}"#);
    assert_eq!(amp.outcome, Err(Cause::Quota));
    assert_eq!(amp.error.as_deref(), Some("Rate limit exceeded"));
    let old = last(r#"{"type":"result","subtype":"error_max_turns","is_error":false,"num_turns":3}"#);
    assert_eq!(old.outcome, Err(Cause::AgentError));
    assert_eq!(old.stop_reason, Some(StopReason::MaxTurnRequests));
}

#[test]
fn usage_is_read_in_the_words_of_each_writer() {
    let usage = |more: &str| {
        let line: ResultLine<'_> = serde_json::from_str(more).unwrap();
        line.usage()
    };
    let claude = usage(r#"{"usage":{"input_tokens":1,"cache_read_input_tokens":2,"output_tokens":3}}"#);
    let cursor = usage(r#"{"usage":{"inputTokens":1,"cacheReadTokens":2,"outputTokens":3,"cacheWriteTokens":0}}"#);
    assert_eq!(claude, cursor);
    assert_eq!(
        (claude.input_tokens, claude.output_tokens, claude.cached_tokens),
        (Some(3), Some(3), Some(2))
    );
    assert_eq!(usage("{}"), Usage::default());
}

/// A message's text, cut into pieces, and the same text cut into blocks.
fn cut(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
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
    fn a_message_is_said_once_however_it_is_cut_into_pieces_and_blocks(
        words in "[abé ]{0,12}",
        pieces in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        blocks in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        told in any::<prop::sample::Index>(),
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
        // All pieces, some of them, or none: the message says what is left.
        let told = told.index(pieces.len() + 1);
        let mut lines: Vec<Value> = pieces[..told].iter().map(|piece| delta(delta_kind, piece)).collect();
        lines.push(message(&Value::Array(blocks)));
        let twice = [lines.clone(), lines].concat();
        prop_assert_eq!(text(&updates(&CLAUDE_STREAM_JSON, &stream(&twice)), update), words.repeat(2));
    }
}
