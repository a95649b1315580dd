//! Tokens and cost of a turn that is not the session's first one.

use serde_json::{Value, json};

use crate::find;
use crate::updates::Translation;

/// A record: its turn, its type, and its other members.
type Record = (u32, &'static str, Value);

/// A turn with these lines of output; then its end, with this usage.
fn turn(number: u32, output: &[Value], usage: Option<&Value>) -> Vec<Record> {
    let started = json!({"pid": 1, "program": "p", "attempt": 1, "start_ticks": 1, "boot_id": "b"});
    let lines = output
        .iter()
        .map(|line| (number, "stdout", json!({"data": line.to_string()})));
    let mut ended = json!({"status": "completed"});
    if let Some(usage) = usage {
        ended["usage"] = usage.clone();
    }
    let begin = [(number, "prompt", json!({"text": "p"})), (number, "started", started)];
    begin
        .into_iter()
        .chain(lines)
        .chain([(number, "turn_ended", ended)])
        .collect()
}

/// The updates about tokens.
fn usage(agent: &str, records: &[Record]) -> Vec<Value> {
    let translator = find(agent).unwrap().format.new_translator();
    let mut translation = Translation::new(translator, 0);
    let mut lines = Vec::new();
    for (seq, (turn, kind, members)) in (1u64..).zip(records) {
        let members = members.to_string();
        let rest = members.strip_prefix('{').unwrap();
        let to = if *kind == "stdout" { r#","to":1"# } else { "" };
        let head = format!(r#""seq":{seq},"time":"2026-11-21T02:40:00.000000Z","turn":{turn},"type":"{kind}"{to}"#);
        translation.push_line(format!("{{{head},{rest}").as_bytes(), &mut lines);
    }
    let lines = lines
        .iter()
        .map(|line| serde_json::from_slice::<Value>(&line.text).unwrap());
    let updates = lines.map(|line| line["update"].clone());
    updates
        .filter(|update| update["sessionUpdate"].to_string().contains("usage"))
        .collect()
}

#[test]
fn the_cost_is_the_sessions_so_far() {
    let result = json!({"type": "result", "subtype": "success", "result": "a", "model_usage_since_last_result":
        {"m": {"inputTokens": 1, "outputTokens": 1, "costUSD": 0.25}}});
    let message = |id: &str| json!({"type": "assistant", "message": {"id": id, "content": [], "usage": {"input_tokens": 5, "output_tokens": 2}}});
    let own = json!({"input_tokens": 1, "output_tokens": 1, "cost_usd": 0.25});
    let first = turn(1, std::slice::from_ref(&result), Some(&own));
    let records = [first, turn(2, &[message("m"), result], Some(&own))].concat();
    let last = usage("claude", &records).pop().unwrap();
    assert_eq!(last["sessionUpdate"], "usage_update");
    assert_eq!((&last["used"], &last["cost"]["amount"]), (&json!(7), &json!(0.5)));
    assert_eq!(last["_meta"]["usage"]["cost_usd"], 0.25);
}

#[test]
fn codexs_sum_becomes_the_turns_own() {
    let completed = |input: u64| json!({"type": "turn.completed", "usage": {"input_tokens": input, "cached_input_tokens": 0, "output_tokens": 1}});
    let own = json!({"input_tokens": 100, "output_tokens": 1});
    let first = turn(1, &[completed(100)], Some(&own));
    let second = turn(2, &[completed(150)], Some(&own));
    let updates = usage("codex", &[first, second.clone()].concat());
    assert_eq!((&updates[0]["used"], &updates[1]["used"]), (&json!(101), &json!(50)));
    // After an interrupted turn, whose tokens codex has not reported, the sum says nothing about the context.
    let interrupted = turn(1, &[json!({"type": "turn.started"})], None);
    let updates = usage("codex", &[interrupted, second].concat());
    assert_eq!(updates[0]["sessionUpdate"], "_turn_usage");
}
