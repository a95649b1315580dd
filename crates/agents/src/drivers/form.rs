//! Forms: the JSON schemas with which MCP servers and ACP agents ask for more than a yes.

use serde_json::Value;

use promptd_model::{AnswerChoice, AnswerType, AskedQuestion};

/// The questions of a request with a form, in the order of their names.
pub(super) fn questions(request: &Value) -> Vec<AskedQuestion> {
    let schema = request.get("requestedSchema").unwrap_or(&Value::Null);
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    let questions = properties.map(|(name, property)| {
        let text = |member: &str| property[member].as_str().map(str::to_owned);
        let multiple = property["type"] == "array";
        let (title, description) = (text("title"), text("description"));
        let one = if multiple { &property["items"] } else { property };
        AskedQuestion {
            id: name.clone(),
            text: description.or_else(|| title.clone()).unwrap_or_else(|| name.clone()),
            header: title,
            choices: choices(one),
            multiple,
            free_text: false,
            kind: match one["type"].as_str() {
                Some("number") => AnswerType::Number,
                Some("integer") => AnswerType::Integer,
                Some("boolean") => AnswerType::Boolean,
                _ => AnswerType::String,
            },
            required: is_required(name),
        }
    });
    questions.collect()
}

/// The choices of the agents' own tools for questions. Their labels are what is answered.
pub(super) fn labelled_choices(asked: &Value) -> Vec<AnswerChoice> {
    let text = |of: &Value, name: &str| of[name].as_str().map(str::to_owned);
    let choices = asked["options"].as_array().into_iter().flatten();
    let choices = choices.filter_map(|choice| {
        Some(AnswerChoice {
            value: text(choice, "label")?,
            label: None,
            description: text(choice, "description"),
        })
    });
    choices.collect()
}

fn choices(of: &Value) -> Vec<AnswerChoice> {
    let titled = ["oneOf", "anyOf"].into_iter().find_map(|name| of[name].as_array());
    if let Some(titled) = titled {
        let text = |choice: &Value, name: &str| choice[name].as_str().map(str::to_owned);
        let choices = titled.iter().filter_map(|choice| {
            Some(AnswerChoice {
                value: text(choice, "const")?,
                label: text(choice, "title"),
                description: text(choice, "description"),
            })
        });
        return choices.collect();
    }
    let values = of["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let choices = values.map(|value| AnswerChoice {
        value: value.to_owned(),
        ..AnswerChoice::default()
    });
    choices.collect()
}
