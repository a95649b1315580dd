//! The options of codex's questions, and the response for each option.

use agent_client_protocol_schema::v1::ToolCallUpdate;
use serde_json::{Value, json};

use crate::drivers::driver::Question;
use crate::drivers::form::labelled_choices;
use crate::drivers::words;
use crate::formats::app_server::tool_call;
use crate::output::tools::tool::{self, str_at};
use promptd_model::{AskedQuestion, GrantScope, PermissionKind, PermissionOption};

/// A possible answer and codex's response for it.
pub(super) struct Choice {
    pub(super) option: PermissionOption,
    pub(super) response: Value,
}

/// The tool call that waits for permission.
pub(super) fn pending_call(id: &str, kind: &str, item: &Value) -> ToolCallUpdate {
    let (name, input) = tool_call(kind, item).unwrap_or_default();
    tool::pending(id, &name, input)
}

/// What codex may do without asking after an answer that allows for longer.
pub(super) enum Subject {
    /// The same command again.
    Command,
    /// Edits of the same files.
    Files,
    /// Connections to the same host.
    Host(String),
    /// Nothing: codex takes no such answer.
    Nothing,
}

impl Subject {
    /// The subject of a question about a command.
    pub(super) fn of_command(params: &Value) -> Self {
        let host = params
            .get("networkApprovalContext")
            .map(|network| str_at(network, "host"));
        match (host.and_then(words::plain), str_at(params, "kind")) {
            (Some(host), _) => Self::Host(host),
            (None, "" | "command") => Self::Command,
            (None, _) => Self::Nothing,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Command => Some("this command".to_owned()),
            Self::Files => Some("edits of these files".to_owned()),
            Self::Host(host) => Some(format!("connections to {host}")),
            Self::Nothing => None,
        }
    }
}

/// The options for an item. Codex accepts `decline` and `acceptForSession` even if it does not offer them. Its process ends
/// with the turn, and with it what it was allowed for its session.
pub(super) fn item_choices(subject: &Subject, params: &Value) -> Vec<Choice> {
    let root = words::plain(str_at(params, "grantRoot"));
    let scope = root.is_some().then_some(GrantScope::Turn);
    let allow = root.map_or_else(
        || "Allow".to_owned(),
        |root| format!("Allow, and writes below {root} for the rest of this turn"),
    );
    let mut allow = choice("accept", &allow, PermissionKind::AllowOnce, json!("accept"));
    allow.option.scope = scope;
    let mut choices = vec![allow];
    if let Some(subject) = subject.text() {
        let name = format!("Allow {subject} for the rest of this turn");
        let decision = json!("acceptForSession");
        choices.push(granting("acceptForSession", &name, GrantScope::Turn, decision));
    }
    let available = params.get("availableDecisions").and_then(Value::as_array);
    let lasting = available.into_iter().flatten().find_map(lasting_choice);
    choices.extend(lasting);
    choices.push(choice(
        "decline",
        "Reject",
        PermissionKind::RejectOnce,
        json!("decline"),
    ));
    choices
}

/// A decision with which codex keeps a rule.
fn lasting_choice(decision: &Value) -> Option<Choice> {
    const ID: &str = "acceptWithExecpolicyAmendment";
    let prefix = decision.get(ID)?.get("execpolicy_amendment")?.as_array()?;
    let prefix: Option<Vec<&str>> = prefix.iter().map(Value::as_str).collect();
    let command = words::command(&prefix?)?;
    let name = format!("Allow commands that begin with `{command}`, in later sessions too (kept in ~/.codex/rules)");
    (name.chars().count() <= words::MAX_NAME).then(|| granting(ID, &name, GrantScope::User, decision.clone()))
}

fn choice(id: &str, name: &str, kind: PermissionKind, decision: Value) -> Choice {
    Choice {
        option: Question::option(id, name, kind),
        response: json!({ "decision": decision }),
    }
}

/// A choice that holds for longer than one call.
fn granting(id: &str, name: &str, scope: GrantScope, decision: Value) -> Choice {
    let mut choice = choice(id, name, PermissionKind::AllowAlways, decision);
    choice.option.scope = Some(scope);
    choice
}

/// The questions of codex's own tool `request_user_input`.
pub(super) fn user_input_questions(params: &Value) -> Vec<AskedQuestion> {
    let text = |of: &Value, name: &str| of[name].as_str().map(str::to_owned);
    let questions = params["questions"].as_array().into_iter().flatten();
    let questions = questions.filter_map(|asked| {
        let choices = labelled_choices(asked);
        Some(AskedQuestion {
            id: text(asked, "id")?,
            text: text(asked, "question")?,
            header: text(asked, "header"),
            free_text: asked["isOther"] == true || choices.is_empty(),
            choices,
            required: true,
            ..AskedQuestion::default()
        })
    });
    questions.collect()
}

/// The response to them.
pub(super) fn user_input_response(answers: &serde_json::Map<String, Value>) -> Value {
    let answers = answers.iter();
    let answers = answers.map(|(id, answer)| (id.clone(), json!({ "answers": [AskedQuestion::text_of(answer)] })));
    let answers: serde_json::Map<String, Value> = answers.collect();
    json!({ "answers": answers })
}

/// The options for them. Without an answer, codex's model is told that there is none.
pub(super) fn user_input_choices() -> Vec<Choice> {
    let options = [
        ("accept", "Answer", PermissionKind::AllowOnce),
        ("decline", "Decline", PermissionKind::RejectOnce),
    ];
    let choices = options.map(|(id, name, kind)| Choice {
        option: Question::option(id, name, kind),
        response: json!({ "answers": {} }),
    });
    choices.into()
}

/// The options if an MCP server asks, or codex asks on its behalf.
pub(super) fn elicitation_choices() -> Vec<Choice> {
    vec![
        Choice {
            option: Question::option("accept", "Allow", PermissionKind::AllowOnce),
            response: json!({ "action": "accept", "content": {} }),
        },
        Choice {
            option: Question::option("decline", "Reject", PermissionKind::RejectOnce),
            response: json!({ "action": "decline" }),
        },
    ]
}
