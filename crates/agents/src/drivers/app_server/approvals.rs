//! The options of codex's questions, and the response for each option.

use agent_client_protocol_schema::v1::ToolCallUpdate;
use serde_json::{Value, json};

use crate::drivers::driver::Question;
use crate::formats::app_server::tool_call;
use crate::output::tool;
use promptd_model::{PermissionKind, PermissionOption};

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

/// The options for an item. Codex accepts `decline` and `acceptForSession` even if it does not offer them.
pub(super) fn item_choices(available: Option<&Vec<Value>>) -> Vec<Choice> {
    let always = available.into_iter().flatten().find(|decision| {
        let amendment = decision.get("acceptWithExecpolicyAmendment");
        amendment.is_some()
    });
    let mut choices = vec![choice("accept", "Allow", PermissionKind::AllowOnce, json!("accept"))];
    let name = "Allow for the rest of the turn";
    let decision = json!("acceptForSession");
    choices.push(choice("acceptForSession", name, PermissionKind::AllowAlways, decision));
    if let Some(decision) = always {
        let name = "Allow commands that begin so from now on";
        let id = "acceptWithExecpolicyAmendment";
        choices.push(choice(id, name, PermissionKind::AllowAlways, decision.clone()));
    }
    choices.push(choice(
        "decline",
        "Reject",
        PermissionKind::RejectOnce,
        json!("decline"),
    ));
    choices
}

fn choice(id: &str, name: &str, kind: PermissionKind, decision: Value) -> Choice {
    Choice {
        option: Question::option(id, name, kind),
        response: json!({ "decision": decision }),
    }
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
