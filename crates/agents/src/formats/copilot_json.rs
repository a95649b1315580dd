//! The output of GitHub's Copilot CLI, as seen with 1.0.102: `copilot --output-format json`.
//!
//! What is not obvious:
//! - `result` is the last line and its `exitCode` decides, but it is 0 after SIGTERM too: `assistant.idle` says before it
//!   that the turn was aborted. After SIGINT there is no `result`, and the process exits with 0.
//! - Only `result` names the session, so one whose first turn was interrupted cannot be gone on with.
//! - Why a turn failed stands in `session.error`. `model.call_failure` comes before each further try.
//! - What came in pieces comes again as a whole; of what a tool puts out, each piece has all so far.
//! - There are no counts of tokens.
//! - Values of variables that look secret are replaced in all of its JSON, in keys too.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::observe::{keep_stderr, lenient, limited};
use super::super::{Observer, Translator, Update, cause};
use super::{Format, tool};
use promptd_model::{Cause, FinalEvent, Observation, StopReason, Stream, Usage};

pub(crate) static COPILOT_JSON: Format = Format {
    name: "copilot-json",
    final_event: true,
    usage_is_cumulative: false,
    observer: Some(|| Box::new(Reader::default())),
    translator: Some(|| Box::new(Words::default())),
};

#[derive(Default)]
struct Reader {
    seen: Observation,
    answer: Option<String>,
    aborted: bool,
    /// What `session.error` said.
    error: Option<(Cause, String)>,
}

/// What has come in pieces, by its id.
#[derive(Default, Clone)]
struct Words {
    message: String,
    thought: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, deserialize_with = "lenient")]
    data: Option<Data>,
    #[serde(rename = "sessionId", borrow)]
    session_id: Option<Cow<'a, str>>,
    #[serde(rename = "exitCode")]
    exit_code: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Data {
    message_id: String,
    reasoning_id: String,
    delta_content: String,
    content: String,
    tool_call_id: String,
    tool_name: String,
    arguments: Value,
    partial_output: String,
    success: bool,
    result: ToolResult,
    error: ToolError,
    message: String,
    error_message: String,
    status_code: Option<u16>,
    aborted: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ToolResult {
    content: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ToolError {
    message: String,
}

impl Observer for Reader {
    fn line(&mut self, stream: Stream, line: &[u8]) {
        if stream == Stream::Stderr {
            return keep_stderr(&mut self.seen, line);
        }
        let event = serde_json::from_slice::<Event<'_>>(line).ok();
        self.seen.last_line_known = event.is_some();
        let Some(event) = event else { return };
        let data = event.data.unwrap_or_default();
        match &*event.kind {
            "assistant.message" => {
                self.seen.failure = None;
                if !data.content.is_empty() {
                    self.answer = Some(limited(&data.content));
                }
            }
            "model.call_failure" => {
                let message = limited(&data.error_message);
                self.seen.failure = Some((cause::tell(data.status_code, &message), message));
            }
            "session.error" => {
                let message = limited(&data.message);
                self.error = Some((cause::tell(data.status_code, &message), message));
            }
            "assistant.idle" => self.aborted = data.aborted,
            "result" => {
                self.seen.agent_session_id = event.session_id.map(Cow::into_owned);
                self.result(event.exit_code == Some(0));
            }
            _ => {}
        }
    }

    fn observation(&self) -> &Observation {
        &self.seen
    }
}

impl Reader {
    fn result(&mut self, exits_well: bool) {
        let failed = |cause, stop_reason, error| FinalEvent {
            outcome: Err(cause),
            stop_reason,
            result: None,
            error: Some(error),
            usage: Usage::default(),
        };
        let said = self.error.take().or_else(|| self.seen.failure.clone());
        self.seen.final_event = Some(match said {
            _ if self.aborted => failed(
                Cause::AgentError,
                Some(StopReason::Cancelled),
                "the turn was aborted".to_owned(),
            ),
            said if !exits_well => {
                let (cause, error) = said.unwrap_or((Cause::AgentError, "copilot gave no reason".to_owned()));
                failed(cause, None, error)
            }
            _ => FinalEvent {
                outcome: Ok(()),
                stop_reason: Some(StopReason::EndTurn),
                result: self.answer.take(),
                error: None,
                usage: Usage::default(),
            },
        });
    }
}

/// What has no id is nothing that came before.
fn is_same(id: &str, in_pieces: &str) -> bool {
    !id.is_empty() && id == in_pieces
}

impl Translator for Words {
    fn line(&mut self, line: &[u8]) -> Option<Vec<Update>> {
        let event = serde_json::from_slice::<Event<'_>>(line).ok()?;
        let data = event.data?;
        let update = match &*event.kind {
            "assistant.message_delta" => {
                self.message = data.message_id;
                Update::message(data.delta_content)
            }
            "assistant.reasoning_delta" => {
                self.thought = data.reasoning_id;
                Update::thought(data.delta_content)
            }
            // The whole of what has come in pieces, or of nothing but calls of tools, which have lines of their own.
            "assistant.message" if data.content.is_empty() || is_same(&data.message_id, &self.message) => {
                return Some(Vec::new());
            }
            "assistant.message" => Update::message(data.content),
            "assistant.reasoning" if is_same(&data.reasoning_id, &self.thought) => return Some(Vec::new()),
            "assistant.reasoning" => Update::thought(data.content),
            // The prompt, which the caller knows already.
            "user.message" => return Some(Vec::new()),
            "tool.execution_start" => tool::started(&data.tool_call_id, &data.tool_name, data.arguments),
            "tool.execution_partial_result" => tool::output_so_far(&data.tool_call_id, &data.partial_output),
            "tool.execution_complete" => {
                let output = if data.success {
                    data.result.content
                } else {
                    data.error.message
                };
                tool::ended(&data.tool_call_id, data.success, &output)
            }
            _ => return None,
        };
        Some(vec![update])
    }
}

#[cfg(test)]
#[path = "copilot_json_tests.rs"]
pub(super) mod tests;
