//! The second table of `docs/agents.md`: the fields of `view=updates` in the recordings of each agent, by mode.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use promptd_agents::{Agent, find};
use serde_json::Value;
use support::replay::{Recording, recordings};

/// The columns, and what a cell says.
const FIELDS: [(&str, &str); 16] = [
    (
        "chunks",
        "the answer comes in several chunks, with the same `messageId`",
    ),
    ("thoughts", "`agent_thought_chunk`"),
    (
        "call early",
        "a `tool_call` appears while the model still writes its input",
    ),
    ("title", "calls have a title, a kind and `rawInput`"),
    ("files", "`locations`"),
    ("line", "`locations` with the line"),
    ("diff", "`diff` content"),
    ("output", "the output of a call as content"),
    ("plan", "`plan`"),
    (
        "context",
        "`usage_update` in turns with tools; else their tokens are `_turn_usage`",
    ),
    ("size", "`usage_update` has the size of the context"),
    ("cost", "`usage_update` has the cost"),
    ("mode", "`current_mode_update`"),
    ("model", "`config_option_update`"),
    ("commands", "`available_commands_update`"),
    ("retry", "a `notice` with `_meta.retry`, or `_message_superseded`"),
];

/// The table as a part of the page.
pub(super) fn table() -> String {
    let mut text = String::from(
        "\n## Fields of `view=updates`\n\n\
         Made of the recordings in `tests/agents/recorded`. *ask* is `\"permission\":\"ask\"`. An empty cell: no recording has it, \
         because the agent does not report it, or because no recording was made of it.\n\n| agent | mode |",
    );
    text.extend(FIELDS.map(|(field, _)| format!(" {field} |")));
    text.push_str("\n|---|---|");
    text.push_str(&"---|".repeat(FIELDS.len()));
    text.push('\n');
    let all = recordings();
    let agents: BTreeSet<&str> = all.iter().map(Recording::agent).collect();
    for agent in agents {
        for is_dialog in [false, true] {
            let own = all
                .iter()
                .filter(|one| one.agent() == agent && one.is_dialog() == is_dialog);
            let seen: BTreeSet<&str> = own.flat_map(|recording| fields(agent, recording)).collect();
            if seen.is_empty() {
                continue;
            }
            let mode = if is_dialog { "ask" } else { "" };
            let cells = FIELDS.map(|(field, _)| if seen.contains(field) { " yes |" } else { "  |" });
            writeln!(text, "| `{agent}` | {mode} |{}", cells.concat()).unwrap();
        }
    }
    text.push('\n');
    text.extend(FIELDS.map(|(field, meaning)| format!("- *{field}*: {meaning}\n")));
    text
}

/// The fields that a recording has.
fn fields(agent: &str, recording: &Recording) -> BTreeSet<&'static str> {
    let agent = Agent::BuiltIn(find(agent).unwrap());
    let mut translator = agent.translator(recording.is_dialog()).unwrap();
    let (mut seen, mut last, mut has_call) = (BTreeSet::new(), Value::Null, false);
    let lines = recording.events().filter_map(|event| {
        if recording.is_dialog() {
            event.get("out").map(Value::to_string)
        } else {
            Some(event.to_string())
        }
    });
    for line in lines {
        for update in translator.translate_line(line.as_bytes()).unwrap_or_default() {
            let update = serde_json::to_value(update).unwrap();
            let kind = update["sessionUpdate"].as_str().unwrap();
            let is_set = |name: &str| {
                update
                    .get(name)
                    .is_some_and(|value| !value.as_array().is_some_and(Vec::is_empty))
            };
            let content = update["content"].as_array();
            let has_content = |kind: &str| content.is_some_and(|all| all.iter().any(|one| one["type"] == kind));
            match kind {
                "agent_message_chunk" => {
                    if last == update["messageId"] {
                        seen.insert("chunks");
                    }
                    last = update["messageId"].clone();
                }
                "agent_thought_chunk" => drop(seen.insert("thoughts")),
                "tool_call" | "tool_call_update" => {
                    has_call = true;
                    let found = [
                        ("call early", kind == "tool_call" && !is_set("rawInput")),
                        ("title", is_set("title") && is_set("rawInput")),
                        ("files", is_set("locations")),
                        ("line", update["locations"][0]["line"].is_u64()),
                        ("diff", has_content("diff")),
                        ("output", has_content("content")),
                    ];
                    seen.extend(found.iter().filter(|(_, is_so)| *is_so).map(|(field, _)| *field));
                }
                "plan" => drop(seen.insert("plan")),
                "usage_update" => {
                    let found = [
                        ("context", has_call),
                        ("size", update["size"].as_u64() > Some(0)),
                        ("cost", is_set("cost")),
                    ];
                    seen.extend(found.iter().filter(|(_, is_so)| *is_so).map(|(field, _)| *field));
                }
                "current_mode_update" => drop(seen.insert("mode")),
                "config_option_update" => drop(seen.insert("model")),
                "available_commands_update" => drop(seen.insert("commands")),
                "_message_superseded" => drop(seen.insert("retry")),
                "notice" if update["_meta"].get("retry").is_some() => drop(seen.insert("retry")),
                _ => {}
            }
        }
    }
    seen
}
