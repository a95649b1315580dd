//! An agent's question as a record of the journal.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use promptd_agents::Question;
use promptd_model::{Permission, SessionRequest, TurnState};

/// How long a question waits for a caller when the request does not say.
const PERMISSION_TIMEOUT: Duration = Duration::from_mins(10);

/// The most bytes of a question's tool call that its record holds: it has to fit into one read of the journal. The
/// agent's own line is there in full.
const MAX_TOOL_CALL: usize = 64 << 10;

/// How deep it may be nested there. Readers of JSON give up at 128, and records are passed on inside of others.
const MAX_DEPTH: usize = 100;

/// The members that are kept of a larger or deeper one.
const SMALL_MEMBERS: [&str; 4] = ["toolCallId", "title", "kind", "status"];

/// The most bytes of a question's title.
const MAX_TITLE: usize = 4 << 10;

/// Whether the journal has the question.
pub(super) fn is_known(turn: &TurnState, asked: &Question) -> bool {
    let open = turn.permissions.iter().any(|(permission, _)| permission.id == asked.id);
    open || turn.answers.iter().any(|known| known.answer().id == asked.id)
}

/// How long a question of this session waits for a caller.
pub(super) fn timeout(request: &SessionRequest) -> Duration {
    // A session's request has been checked.
    let given = request.permission_timeout.map(Duration::try_from_secs_f64);
    given.and_then(Result::ok).unwrap_or(PERMISSION_TIMEOUT)
}

pub(super) fn expiry(timeout: Duration) -> Timestamp {
    let timeout = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
    Timestamp::now().saturating_add(timeout).unwrap_or(Timestamp::MAX)
}

pub(super) fn record(asked: Question, expires_at: Option<Timestamp>) -> Permission {
    let mut title = asked.title;
    title.truncate(title.floor_char_boundary(MAX_TITLE));
    let tool_call = asked.tool_call.map(|mut call| {
        let size = serde_json::to_vec(&call).map_or(usize::MAX, |text| text.len());
        let is_too_much = size > MAX_TOOL_CALL || depth(&call) > MAX_DEPTH;
        if let (true, Value::Object(members)) = (is_too_much, &mut call) {
            members.retain(|name, value| {
                let short = value.as_str().is_some_and(|text| text.len() <= MAX_TITLE);
                short && SMALL_MEMBERS.contains(&name.as_str())
            });
        }
        call
    });
    Permission {
        id: asked.id,
        title,
        options: asked.options,
        tool_call,
        questions: asked.questions,
        takes_input: asked.takes_input,
        takes_reason: asked.takes_reason,
        expires_at,
    }
}

/// How deep a value is nested: its parser goes no deeper than 128.
fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    deepest.unwrap_or(0).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_content_of_a_large_tool_call_is_left_out() {
        let ask = |content: &str| Question {
            id: "1".to_owned(),
            title: "é".repeat(MAX_TITLE),
            options: Vec::new(),
            tool_call: Some(json!({ "toolCallId": "c", "title": "t", "rawInput": { "content": content } })),
            ..Question::default()
        };
        let small = record(ask("x"), None);
        assert_eq!(small.tool_call.unwrap()["rawInput"]["content"], "x");
        assert_eq!(small.title.len(), MAX_TITLE);
        let large = record(ask(&"x".repeat(MAX_TOOL_CALL)), None);
        assert_eq!(large.tool_call, Some(json!({ "toolCallId": "c", "title": "t" })));
    }

    /// The record could not be read again, and the session was taken for damaged.
    #[test]
    fn the_content_of_a_deep_tool_call_is_left_out() {
        for (levels, is_kept) in [(90, true), (99, true), (100, false), (126, false)] {
            let input = (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
            let asked = Question {
                tool_call: Some(json!({ "toolCallId": "c", "rawInput": input })),
                ..Question::default()
            };
            let written = serde_json::to_string(&record(asked, None)).unwrap();
            let read: Permission = serde_json::from_str(&written).unwrap();
            let call = read.tool_call.unwrap();
            assert_eq!(
                (call.get("rawInput").is_some(), &call["toolCallId"]),
                (is_kept, &json!("c"))
            );
        }
    }
}
