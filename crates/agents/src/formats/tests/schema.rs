//! Every update with a name of ACP is valid by the schema that ACP publishes.
//!
//! `tests/agents/acp-session-update.schema.json` has the part of it that is needed here. To renew it: take `SessionUpdate`
//! and what it refers to from `schema/v1/schema.json` of the npm package `@agentclientprotocol/sdk`.

use serde_json::{Value, json};

use super::shapes::agent_line;
use super::{agents_folder, recordings_of, translate, translator};
use crate::built_in_agents;

struct Schema(Value);

impl Schema {
    fn read() -> Self {
        let path = agents_folder().join("acp-session-update.schema.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// Why a value is not valid.
    fn check(&self, value: &Value) -> Result<(), String> {
        self.check_by(&self.0, value, "")
    }

    fn check_by(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Some(keywords) = schema.as_object() else {
            return (schema != false)
                .then_some(())
                .ok_or_else(|| format!("{at} is not allowed"));
        };
        for (keyword, rule) in keywords {
            let list = || rule.as_array().unwrap().iter();
            let fails = |why: &str| Err(format!("{at}: {why}: {value}"));
            match keyword.as_str() {
                "$ref" => {
                    let name = rule.as_str().unwrap().rsplit('/').next().unwrap();
                    self.check_by(&self.0["$defs"][name], value, at)?;
                }
                "type" if !is_of(rule, value) => return fails("wrong type"),
                "const" if rule != value => return fails("another constant"),
                "minLength" if value.as_str().is_some_and(str::is_empty) => return fails("empty"),
                "minimum" if value.as_f64() < rule.as_f64() => return fails("too small"),
                "required" => {
                    for name in list().filter_map(Value::as_str) {
                        if value.is_object() && value.get(name).is_none() {
                            return fails(&format!("no {name}"));
                        }
                    }
                }
                "properties" => {
                    for (name, rule) in rule.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.check_by(rule, member, &format!("{at}/{name}"))?;
                        }
                    }
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.check_by(rule, item, &format!("{at}/*"))?;
                    }
                }
                "allOf" => list().try_for_each(|rule| self.check_by(rule, value, at))?,
                "anyOf" | "oneOf" => {
                    let results: Vec<_> = list().map(|rule| self.check_by(rule, value, at)).collect();
                    if results.iter().all(Result::is_err) {
                        // What failed deepest says the most.
                        let errors = results.into_iter().filter_map(Result::err);
                        return Err(errors.max_by_key(String::len).unwrap_or_default());
                    }
                }
                "type" | "$comment" | "$defs" | "additionalProperties" | "const" | "minLength" | "minimum" => {}
                other => panic!("the schema has a new keyword: {other}"),
            }
        }
        Ok(())
    }
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("the schema has a new type: {other}"),
    };
    match types {
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    }
}

#[test]
fn the_check_finds_invalid_updates() {
    let schema = Schema::read();
    let call = |more: Value| {
        let mut call = json!({"sessionUpdate": "tool_call", "toolCallId": "a", "title": "t"});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema.check(&call)
    };
    assert_eq!(
        call(json!({"kind": "edit", "locations": [{"path": "/a", "line": 1}]})),
        Ok(())
    );
    assert!(call(json!({"title": null})).is_err());
    assert!(call(json!({"locations": [{"line": 1}]})).is_err());
    assert!(call(json!({"content": [{"type": "diff", "path": "/a"}]})).is_err());
    assert!(
        schema
            .check(&json!({"sessionUpdate": "usage_update", "used": -1, "size": 0}))
            .is_err()
    );
    assert!(schema.check(&json!({"sessionUpdate": "new"})).is_err());
}

#[test]
fn all_updates_of_recordings_are_valid_by_acps_schema() {
    let schema = Schema::read();
    let mut kinds = std::collections::BTreeSet::new();
    for agent in built_in_agents() {
        let dialog = agent.dialog.as_ref().map(|dialog| dialog.format);
        for (is_dialog, format) in [(false, Some(agent.format)), (true, dialog)] {
            let Some(format) = format.filter(|format| format.translator.is_some()) else {
                continue;
            };
            for (name, stream) in recordings_of(agent.name, is_dialog) {
                let mut reader = translator(format);
                for line in stream.lines().filter_map(|line| agent_line(line, is_dialog)) {
                    for update in translate(&mut *reader, line.as_bytes()) {
                        let kind = update["sessionUpdate"].as_str().unwrap().to_owned();
                        if !kind.starts_with('_') {
                            assert_eq!(schema.check(&update), Ok(()), "{name}: {update}");
                        }
                        kinds.insert(kind);
                    }
                }
            }
        }
    }
    // Each kind was there.
    let expected = [
        "_message_superseded",
        "_raw",
        "_turn_usage",
        "agent_message_chunk",
        "agent_thought_chunk",
        "available_commands_update",
        "config_option_update",
        "current_mode_update",
        "notice",
        "plan",
        "session_info_update",
        "tool_call",
        "tool_call_update",
        "usage_update",
    ];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}
