//! The answers to an agent's questions, and the options that they can have.

use agent_client_protocol_schema::v1::{
    PermissionOption as AcpOption, PermissionOptionKind, RequestId, RequestPermissionOutcome,
    RequestPermissionResponse, SelectedPermissionOutcome,
};
use serde_json::json;

use crate::drivers::driver::Question;
use crate::output::lines::json_rpc;
use promptd_model::{AnswerDetails, PermissionKind, PermissionOption};

/// The actions that answer a form.
const ACCEPT_FORM: &str = "accept";
const DECLINE_FORM: &str = "decline";
pub(super) const CANCEL_FORM: &str = "cancel";

/// The options of a permission question, in the agent's own words.
pub(super) fn options(options: Vec<AcpOption>) -> Vec<PermissionOption> {
    let options = options.into_iter().map(|option| {
        let kind = match option.kind {
            PermissionOptionKind::AllowOnce => PermissionKind::AllowOnce,
            PermissionOptionKind::AllowAlways => PermissionKind::AllowAlways,
            PermissionOptionKind::RejectAlways => PermissionKind::RejectAlways,
            _ => PermissionKind::RejectOnce,
        };
        Question::option(&option.option_id.0, &option.name, kind)
    });
    options.collect()
}

/// The options of a form.
pub(super) fn form_options() -> Vec<PermissionOption> {
    vec![
        Question::option(ACCEPT_FORM, "Answer", PermissionKind::AllowOnce),
        Question::option(DECLINE_FORM, "Decline", PermissionKind::RejectOnce),
    ]
}

/// The answer to a permission question: an option, or that the turn is cancelled.
pub(super) fn to_permission(id: &RequestId, option: Option<&str>) -> Vec<u8> {
    let outcome = match option {
        Some(option) => RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(option.to_owned())),
        None => RequestPermissionOutcome::Cancelled,
    };
    let result = RequestPermissionResponse::new(outcome);
    json_rpc::line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}

/// The answer to a form.
pub(super) fn to_form(id: &RequestId, action: &str, details: &AnswerDetails) -> Vec<u8> {
    let result = if action == ACCEPT_FORM {
        json!({ "action": action, "content": details.answers })
    } else {
        json!({ "action": action })
    };
    json_rpc::line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
}
