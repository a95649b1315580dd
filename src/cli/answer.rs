//! `promptd answer`: answers a permission question of an agent.

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::client::Client;
use crate::cli::error::{CliError, exit};
use crate::cli::follow;

const AFTER_HELP: &str = "\
An agent that was started with `run --permission ask` waits for the answer. `promptd ps` lists sessions that wait, and
`promptd attach SESSION` shows the question; there, a key answers it.

Examples:
  promptd ps --status waiting
  promptd answer 0193… 1.1.1 allow_once
  promptd answer 0193… 1.1.2 reject_once --reason 'use the other file'
  promptd answer 0193… 1.1.3 allow_once --answer 'Which color?=Blue'
  curl -X POST \"$URL/v1/sessions/0193…/permissions/1.1.1\" -d '{\"option\":\"allow_once\"}' \\
    -H \"authorization: Bearer $PROMPTD_TOKEN\" -H 'content-type: application/json'";

/// Answer a permission question of an agent
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AnswerArgs {
    /// The session
    session: String,
    /// The question's id
    permission: String,
    /// One of its options: the option's id, or its kind, such as `allow_once` or `reject_once`
    option: String,
    /// The answer to a question of the form, such as `color=Red`; for a list, once for each choice
    #[arg(long = "answer", value_name = "QUESTION=ANSWER")]
    answers: Vec<String>,
    /// All answers as a JSON object
    #[arg(long, value_name = "JSON", conflicts_with = "answers")]
    answers_json: Option<Value>,
    /// What the agent is to call its tool with instead, as a JSON object
    #[arg(long, value_name = "JSON")]
    input: Option<Value>,
    /// Why it is rejected, for the agent
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn answer(client: &Client, args: &AnswerArgs) -> Result<u8, CliError> {
    follow::answer(client, &args.session, &args.permission, args.body()?).await?;
    Ok(exit::DONE)
}

impl AnswerArgs {
    fn body(&self) -> Result<Value, CliError> {
        let mut body = Map::from_iter([("option".to_owned(), Value::from(self.option.as_str()))]);
        let answers = match &self.answers_json {
            Some(answers) => Some(answers.clone()),
            None if self.answers.is_empty() => None,
            None => Some(Value::Object(answers(&self.answers)?)),
        };
        let reason = self.reason.clone().map(Value::String);
        for (name, value) in [
            ("answers", answers),
            ("updated_input", self.input.clone()),
            ("reason", reason),
        ] {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        }
        Ok(body.into())
    }
}

/// Several answers to one question are a list.
fn answers(given: &[String]) -> Result<Map<String, Value>, CliError> {
    let mut answers = Map::new();
    for answer in given {
        let Some((question, answer)) = answer.split_once('=') else {
            return Err(CliError::Usage(format!("--answer {answer:?}: write QUESTION=ANSWER")));
        };
        let answer = Value::from(answer);
        match answers.get_mut(question) {
            None => {
                answers.insert(question.to_owned(), answer);
            }
            Some(Value::Array(all)) => all.push(answer),
            Some(one) => *one = Value::Array(vec![one.take(), answer]),
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn several_answers_to_a_question_are_a_list() {
        let given = ["color=Red", "size=S", "size=M", "size=a=b"].map(str::to_owned);
        let found = answers(&given).unwrap();
        assert_eq!(
            Value::Object(found),
            json!({ "color": "Red", "size": ["S", "M", "a=b"] })
        );
        assert!(answers(&["color".to_owned()]).is_err());
    }
}
