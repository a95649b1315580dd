//! Questions that need more than an option, as forms of ACP (`elicitation/create`), for clients that show forms; pure.
//!
//! A question that has choices and also takes an own text becomes two fields: the choice, and the text.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::message::META;
use promptd_model::{AnswerDetails, AnswerType, AskedQuestion, Permission, PermissionKind};

/// The end of the name of the field for an own text.
const OTHER: &str = "_other";

/// The parameters of the request.
pub(super) fn request(session: &str, permission: &Permission) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for question in &permission.questions {
        properties.insert(question.id.clone(), property(question));
        if takes_both(question) {
            let title = question.header.as_ref().unwrap_or(&question.text);
            let field = json!({ "type": "string", "title": format!("{title}: another answer") });
            properties.insert(other_field(permission, question), field);
        } else if question.required {
            required.push(question.id.as_str());
        }
    }
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let mut params = Map::from_iter([
        ("mode".to_owned(), "form".into()),
        ("sessionId".to_owned(), session.into()),
        ("message".to_owned(), permission.title.as_str().into()),
        ("requestedSchema".to_owned(), schema),
        ("_meta".to_owned(), json!({ META: { "permission": permission.id } })),
    ]);
    let call = permission
        .tool_call
        .as_ref()
        .and_then(|call| call["toolCallId"].as_str());
    if let Some(call) = call.filter(|call| !call.is_empty()) {
        params.insert("toolCallId".to_owned(), call.into());
    }
    Value::Object(params)
}

fn takes_both(question: &AskedQuestion) -> bool {
    question.free_text && !question.choices.is_empty()
}

/// A name that no question has.
fn other_field(permission: &Permission, question: &AskedQuestion) -> String {
    let names: BTreeSet<&str> = permission
        .questions
        .iter()
        .map(|question| question.id.as_str())
        .collect();
    let mut name = format!("{}{OTHER}", question.id);
    while names.contains(name.as_str()) {
        name.push('_');
    }
    name
}

fn property(question: &AskedQuestion) -> Value {
    let choices = question.choices.iter().map(|choice| {
        let title = choice.label.as_ref().unwrap_or(&choice.value);
        match &choice.description {
            Some(description) => json!({ "const": choice.value, "title": title, "description": description }),
            None => json!({ "const": choice.value, "title": title }),
        }
    });
    let choices: Vec<Value> = choices.collect();
    let kind = match question.kind {
        AnswerType::String => "string",
        AnswerType::Number => "number",
        AnswerType::Integer => "integer",
        AnswerType::Boolean => "boolean",
    };
    let (title, description) = (question.header.as_ref().unwrap_or(&question.text), &question.text);
    match (choices.is_empty(), question.multiple) {
        (true, false) => json!({ "type": kind, "title": title, "description": description }),
        (false, false) => json!({ "type": "string", "oneOf": choices, "title": title, "description": description }),
        (is_open, true) => {
            let items = if is_open {
                json!({ "type": kind })
            } else {
                json!({ "anyOf": choices })
            };
            json!({ "type": "array", "items": items, "title": title, "description": description })
        }
    }
}

/// The answer that a response gives: the option and the details. `None` if it gives none.
pub(super) fn answer(permission: &Permission, response: &Value) -> Option<(String, AnswerDetails)> {
    let of_kind = |wanted: &[PermissionKind]| {
        let mut options = permission.options.iter();
        options
            .find(|option| wanted.contains(&option.kind))
            .map(|option| option.option_id.clone())
    };
    let mut details = AnswerDetails::default();
    let option = match response["action"].as_str()? {
        "accept" => {
            details.answers = answers(permission, response["content"].as_object()?);
            of_kind(&[PermissionKind::AllowOnce])
        }
        "decline" | "cancel" => of_kind(&[PermissionKind::RejectOnce, PermissionKind::RejectAlways]),
        _ => None,
    };
    Some((option?, details))
}

fn answers(permission: &Permission, content: &Map<String, Value>) -> Map<String, Value> {
    let answers = permission.questions.iter().filter_map(|question| {
        let given = content.get(&question.id).filter(|given| !given.is_null());
        let own = takes_both(question).then(|| content.get(&other_field(permission, question)));
        let own = own
            .flatten()
            .and_then(Value::as_str)
            .filter(|text| !text.trim().is_empty());
        let answer = match (given, own) {
            (given, Some(own)) if question.multiple => {
                let mut all = given.and_then(Value::as_array).cloned().unwrap_or_default();
                all.push(json!({ "other": own }));
                Value::Array(all)
            }
            (_, Some(own)) => json!({ "other": own }),
            // A field that was left empty.
            (Some(given), None) if !question.required && *given == "" => return None,
            (Some(given), None) => given.clone(),
            (None, None) => return None,
        };
        Some((question.id.clone(), answer))
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_client_protocol_schema::v1::{CreateElicitationRequest, ElicitationMode};

    fn asked() -> Permission {
        let options = json!([
            { "optionId": "allow", "name": "Allow", "kind": "allow_once" },
            { "optionId": "always", "name": "Always", "kind": "allow_always" },
            { "optionId": "reject", "name": "Reject", "kind": "reject_once" },
        ]);
        let choices = json!([{ "value": "Red", "description": "r" }, { "value": "Blue", "label": "B" }]);
        let questions = json!([
            { "id": "Which color?", "text": "Which color?", "header": "Color", "choices": choices, "free_text": true, "required": true },
            { "id": "more", "text": "More?", "choices": choices, "free_text": true, "multiple": true, "required": true },
            { "id": "size", "text": "Size?", "choices": choices, "required": true },
            { "id": "count", "text": "How many?", "type": "integer" },
            { "id": "more_other", "text": "Why?", "type": "string" },
        ]);
        Permission {
            id: "1.1.1".to_owned(),
            title: "Choose".to_owned(),
            options: serde_json::from_value(options).unwrap(),
            questions: serde_json::from_value(questions).unwrap(),
            tool_call: Some(json!({ "toolCallId": "c" })),
            ..Permission::default()
        }
    }

    #[test]
    fn questions_are_fields_of_the_protocols_form() {
        let request = request("s", &asked());
        let typed: CreateElicitationRequest = serde_json::from_value(request.clone()).unwrap();
        assert!(matches!(typed.mode, ElicitationMode::Form(_)), "{typed:?}");
        let schema = &request["requestedSchema"];
        let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let mut expected = [
            "Which color?",
            "Which color?_other",
            "count",
            "more",
            "more_other",
            "more_other_",
            "size",
        ];
        expected.sort_unstable();
        let mut sorted = names;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(schema["required"], json!(["size"]));
        let color = json!([
            { "const": "Red", "title": "Red", "description": "r" },
            { "const": "Blue", "title": "B" },
        ]);
        assert_eq!(schema["properties"]["Which color?"]["oneOf"], color);
        assert_eq!(schema["properties"]["more"]["items"]["anyOf"], color);
        assert_eq!(request["toolCallId"], "c");
    }

    #[test]
    fn responses_are_answers() {
        let asked = asked();
        let content = json!({
            "Which color?": "Red", "Which color?_other": "Green", "more": ["Blue"], "more_other_": "Pink", "size": "Red",
            "count": 3, "more_other": "", "unknown": 1,
        });
        let (option, details) = answer(&asked, &json!({ "action": "accept", "content": content })).unwrap();
        let expected = json!({
            "Which color?": { "other": "Green" }, "more": ["Blue", { "other": "Pink" }], "size": "Red", "count": 3,
        });
        assert_eq!(
            (option.as_str(), Value::Object(details.answers.clone())),
            ("allow", expected)
        );
        assert_eq!(asked.check(&asked.options[0], &details), Ok(()));
        for action in ["decline", "cancel"] {
            let (option, details) = answer(&asked, &json!({ "action": action })).unwrap();
            assert_eq!((option.as_str(), details), ("reject", AnswerDetails::default()));
        }
        for wrong in [
            json!({}),
            json!({ "action": "accept" }),
            json!({ "action": "later" }),
            json!(7),
        ] {
            assert_eq!(answer(&asked, &wrong), None);
        }
    }
}
