//! The updates of a recorded stream as short lines that a test can compare.

use serde_json::Value;

use crate::{Update, find};

/// The updates of a recorded stdout, one a line. Raw lines are shown by their type.
pub(crate) fn transcript(agent: &str, stdout: &str) -> Vec<String> {
    let new = find(agent).expect("a built-in agent").format.translator;
    let mut translator = new.expect("it has a translator")();
    let mut lines = Vec::new();
    for line in stdout.lines() {
        match translator.translate_line(line.as_bytes()) {
            Some(updates) => lines.extend(updates.iter().map(short)),
            None => lines.push(format!("raw {}", kind(line))),
        }
    }
    lines.dedup();
    lines
}

fn kind(line: &str) -> String {
    let value: Value = serde_json::from_str(line).expect("a recorded line is JSON");
    value["type"].as_str().unwrap_or("?").to_owned()
}

fn short(update: &Update) -> String {
    let value = serde_json::to_value(update).expect("an update is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match text(&value["sessionUpdate"]).as_str() {
        "agent_message_chunk" => format!("message {:?}", text(&value["content"]["text"])),
        "agent_thought_chunk" => format!("thought {:?}", text(&value["content"]["text"])),
        word @ ("tool_call" | "tool_call_update") => {
            let output: Vec<_> = value["content"].as_array().into_iter().flatten().collect();
            let output: Vec<_> = output.iter().map(|block| text(&block["content"]["text"])).collect();
            let about = ["kind", "title"].map(|key| text(&value[key])).join(" ");
            let about = format!(
                "{word} {} {} {about}",
                text(&value["toolCallId"]),
                text(&value["status"])
            );
            format!("{} {:?}", about.trim_end(), output.concat())
        }
        "usage_update" => format!("usage {}", value["_meta"]["usage"]),
        other => format!("{other}?"),
    }
}
