//! Questions that an option alone does not answer, and what an answer can contain besides its option.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A question of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AskedQuestion {
    /// The name of its answer in `answers`.
    pub id: String,
    /// The question.
    pub text: String,
    /// A word or two about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What can be chosen; empty if there is no choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<AnswerChoice>,
    /// Any number of choices can be taken: the answer is a list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multiple: bool,
    /// An own text can be given instead of a choice: `{"other": "text"}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub free_text: bool,
    /// What an answer without choices is; with `multiple`, what each of the list is.
    #[serde(default, rename = "type")]
    pub kind: AnswerType,
    /// It has to be answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// Something that can be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AnswerChoice {
    /// What to answer.
    pub value: String,
    /// The label for people, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What an answer without choices is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerType {
    /// A text.
    #[default]
    String,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
}

/// What an answer can contain besides its option.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerDetails {
    /// The answers to the questions, by their ids.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub answers: Map<String, Value>,
    /// What the agent is to call its tool with instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_input: Option<Value>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl AskedQuestion {
    /// Checks an answer.
    ///
    /// # Errors
    /// What would be right.
    pub fn check(&self, answer: &Value) -> Result<(), String> {
        let is_choice = |value: &Value| self.choices.iter().any(|choice| *value == *choice.value);
        let is_own = |value: &Value| {
            let own = value
                .as_object()
                .filter(|own| own.len() == 1)
                .and_then(|own| own.get("other"));
            self.free_text && own.is_some_and(|own| own.as_str().is_some_and(|text| !text.is_empty()))
        };
        let is_typed = |value: &Value| match self.kind {
            AnswerType::String => value.is_string(),
            AnswerType::Number => value.is_number(),
            AnswerType::Integer => value.is_i64() || value.is_u64(),
            AnswerType::Boolean => value.is_boolean(),
        };
        let is_right = |value: &Value| match self.choices.as_slice() {
            [] => is_typed(value),
            _ => is_choice(value) || is_own(value),
        };
        let is_good = match answer {
            Value::Array(values) if self.multiple => {
                values.iter().all(is_right) && !(self.required && values.is_empty())
            }
            value => !self.multiple && is_right(value),
        };
        if is_good { Ok(()) } else { Err(self.expected()) }
    }

    fn expected(&self) -> String {
        if self.choices.is_empty() {
            let (one, several) = match self.kind {
                AnswerType::String => ("a text", "texts"),
                AnswerType::Number => ("a number", "numbers"),
                AnswerType::Integer => ("a whole number", "whole numbers"),
                AnswerType::Boolean => ("true or false", "values that are true or false"),
            };
            return if self.multiple {
                format!("must be a list of {several}")
            } else {
                format!("must be {one}")
            };
        }
        let choices: Vec<String> = self
            .choices
            .iter()
            .map(|choice| format!("{:?}", choice.value))
            .collect();
        let what = if self.multiple { "a list of" } else { "one of" };
        let own = if self.free_text {
            ", or {\"other\": \"your own text\"}"
        } else {
            ""
        };
        format!("must be {what} {}{own}", choices.join(", "))
    }

    /// The text of an answer, for agents that take texts.
    pub fn text_of(answer: &Value) -> String {
        match answer {
            Value::String(text) => text.clone(),
            Value::Array(values) => values.iter().map(Self::text_of).collect::<Vec<_>>().join(", "),
            Value::Object(own) => own.get("other").map_or_else(String::new, Self::text_of),
            other => other.to_string(),
        }
    }
}
