//! Lines of gemini that no recording has.

use super::updates;
use crate::formats::gemini_stream_json::GEMINI_STREAM_JSON;

#[test]
fn a_successful_todo_list_is_the_plan() {
    let lines = [
        r#"{"type":"tool_use","tool_name":"write_todos","tool_id":"t1","parameters":{"todos":[{"description":"a","status":"in_progress"}]}}"#,
        r#"{"type":"tool_result","tool_id":"t1","status":"success","output":"done"}"#,
    ];
    let updates = updates(&GEMINI_STREAM_JSON, &lines.join("\n"));
    assert_eq!(updates[2]["sessionUpdate"], "plan");
    assert_eq!(updates[2]["entries"][0]["content"], "a");
    assert_eq!(updates[2]["entries"][0]["status"], "in_progress");
}

#[test]
fn a_warning_is_a_notice() {
    let line = r#"{"type":"error","severity":"warning","message":"Loop detected, stopping execution"}"#;
    let updates = updates(&GEMINI_STREAM_JSON, line);
    assert_eq!(updates[0]["sessionUpdate"], "notice");
    assert_eq!(updates[0]["title"], "Loop detected, stopping execution");
}
