//! Permission requests to the client that wait for its answer.

use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol_schema::v1::{
    CLIENT_METHOD_NAMES as CLIENT, CancelRequestNotification, PROTOCOL_LEVEL_METHOD_NAMES as PROTOCOL,
    PermissionOption as AcpOption, PermissionOptionKind, RequestId, RequestPermissionOutcome, RequestPermissionRequest,
    RequestPermissionResponse, ToolCallUpdate, ToolCallUpdateFields,
};
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::forms;
use super::message::{META, meta, notification, params, request};
use super::pending::PendingPermission;
use crate::api::http::problem::Problem;
use crate::api::sessions::permissions::PermissionView;
use crate::api::stream::websocket::Disconnected;
use crate::runtime::Session;
use promptd_model::{AnswerDetails, Permission, PermissionDefault, PermissionKind, PermissionOption};

/// A client that answers by itself could be asked again without end.
const ASK_AGAIN_DELAY: Duration = Duration::from_secs(1);

impl Connection {
    /// Asks the client: with a form, if the question needs one and the client shows forms.
    pub(super) async fn request_permission(
        &self,
        session: &Arc<Session>,
        permission: Permission,
    ) -> Result<(), Disconnected> {
        let shows_forms = self.shown.get().is_some_and(|shown| shown.forms);
        if permission.questions.is_empty() || !shows_forms {
            return self.request_option(session, permission).await;
        }
        let id = self.pending.add(session, &permission.id, true);
        let asked = forms::request(session.id().as_str(), &permission);
        let frame = request(RequestId::Number(id), CLIENT.elicitation_create, asked);
        self.sender.send_text(frame).await
    }

    /// Asks the client for one of the options.
    async fn request_option(&self, session: &Arc<Session>, permission: Permission) -> Result<(), Disconnected> {
        let id = self.pending.add(session, &permission.id, false);
        let asked = permission_request(session.id().as_str(), permission);
        let frame = request(RequestId::Number(id), CLIENT.session_request_permission, asked);
        self.sender.send_text(frame).await
    }

    /// Withdraws requests that were answered elsewhere.
    pub(super) async fn withdraw_permission(
        &self,
        session: &Arc<Session>,
        permission: &str,
    ) -> Result<(), Disconnected> {
        let withdrawn = self.pending.remove(session, permission);
        for id in withdrawn {
            let cancelled = CancelRequestNotification::new(RequestId::Number(id));
            self.sender
                .send_text(notification(PROTOCOL.cancel_request, cancelled))
                .await?;
        }
        Ok(())
    }

    /// Handles a response of the client. Without a choice in it the request stays open: for other clients, or for the
    /// interrupt that follows.
    pub(super) async fn handle_response(
        &self,
        id: &RequestId,
        result: Result<Value, Value>,
    ) -> Result<(), Disconnected> {
        let RequestId::Number(id) = id else { return Ok(()) };
        let Some(asked) = self.pending.take(*id) else {
            return Ok(());
        };
        if asked.is_form {
            return self.take_form(asked, result).await;
        }
        let answer = result
            .ok()
            .and_then(|result| params::<RequestPermissionResponse>(result).ok());
        let own = answer.as_ref().and_then(|answer| answer.meta.clone());
        let Some(RequestPermissionOutcome::Selected(selected)) = answer.map(|answer| answer.outcome) else {
            return Ok(());
        };
        let option = selected.option_id.0.to_string();
        let own = own.and_then(|mut own| own.remove(META)).unwrap_or_default();
        let details: AnswerDetails = serde_json::from_value(own).unwrap_or_default();
        if let Err(problem) = self.answer(&asked, option, details).await {
            self.handle_refusal(&asked.session, asked.permission, &problem).await;
        }
        Ok(())
    }

    /// Takes the answer to a form. If it cannot be used, or the client could not show the form, the client is asked for an
    /// option.
    async fn take_form(&self, asked: PendingPermission, result: Result<Value, Value>) -> Result<(), Disconnected> {
        let state = asked.session.latest();
        let mut pending = state.pending_permissions();
        let Some((permission, _)) = pending.find(|(waits, _)| waits.id == asked.permission) else {
            // It was answered elsewhere.
            return Ok(());
        };
        let masker = self.api.runtime.masks.of_session(&asked.session);
        let shown = PermissionView::masked(permission, masker.as_deref());
        let answer = result.ok().and_then(|response| forms::answer(&shown, &response));
        if let Some((option, details)) = answer {
            match self.answer(&asked, option, details).await {
                Err(problem) if problem.code() == "invalid_field" => {}
                // Another answer came before it.
                Ok(()) | Err(_) => return Ok(()),
            }
        }
        self.request_option(&asked.session, shown).await
    }

    async fn answer(&self, asked: &PendingPermission, option: String, details: AnswerDetails) -> Result<(), Problem> {
        let (session, permission) = (&asked.session, asked.permission.clone());
        let answered = self.api.answer_permission(session, permission, option, details).await;
        answered.map(drop).inspect_err(|problem| {
            tracing::warn!(session = %session.id(), permission = asked.permission, problem = problem.detail(), "the answer of an ACP client was refused");
        })
    }

    /// The client takes its request for answered, and would leave the turn waiting. One that cannot give what the answer
    /// has to contain, because it knows no forms, is taken to reject. If the server could not write the answer, it asks
    /// the client again.
    async fn handle_refusal(&self, session: &Arc<Session>, permission: String, problem: &Problem) {
        let state = session.latest();
        let mut pending = state.pending_permissions();
        let Some((asked, _)) = pending.find(|(asked, _)| asked.id == permission) else {
            return;
        };
        if problem.status().is_client_error() {
            let rejection = asked.default_option(PermissionDefault::Reject).to_owned();
            let reason = format!("the client's answer cannot be used: {}", problem.detail());
            let details = AnswerDetails {
                reason: Some(reason).filter(|_| asked.takes_reason),
                ..AnswerDetails::default()
            };
            let rejected = self.api.answer_permission(session, permission, rejection, details);
            if rejected.await.is_ok() {
                return;
            }
        }
        tokio::time::sleep(ASK_AGAIN_DELAY).await;
        let masker = self.api.runtime.masks.of_session(session);
        let asked = PermissionView::masked(asked, masker.as_deref());
        // The receiving loop notices that the client is gone.
        let _sent = self.request_permission(session, asked).await;
    }
}

fn permission_request(session: &str, permission: Permission) -> RequestPermissionRequest {
    let call = permission.tool_call.and_then(|call| serde_json::from_value(call).ok());
    let call: ToolCallUpdate = call.unwrap_or_else(|| {
        let fields = ToolCallUpdateFields::new().title(permission.title);
        ToolCallUpdate::new(permission.id.clone(), fields)
    });
    let options = permission.options.into_iter().map(option).collect();
    let mut about = Map::from_iter([("permission".to_owned(), permission.id.into())]);
    if !permission.questions.is_empty() {
        about.insert("questions".to_owned(), json!(permission.questions));
    }
    for (name, is_taken) in [
        ("takes_input", permission.takes_input),
        ("takes_reason", permission.takes_reason),
    ] {
        if is_taken {
            about.insert(name.to_owned(), true.into());
        }
    }
    RequestPermissionRequest::new(session.to_owned(), call, options).meta(meta(about.into()))
}

fn option(option: PermissionOption) -> AcpOption {
    let kind = match option.kind {
        PermissionKind::AllowOnce => PermissionOptionKind::AllowOnce,
        PermissionKind::AllowAlways => PermissionOptionKind::AllowAlways,
        PermissionKind::RejectOnce => PermissionOptionKind::RejectOnce,
        PermissionKind::RejectAlways => PermissionOptionKind::RejectAlways,
    };
    AcpOption::new(option.option_id, option.name, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_tool_call_has_its_title() {
        let asked = permission_request(
            "s",
            Permission {
                id: "p1".to_owned(),
                title: "run ls".to_owned(),
                options: vec![PermissionOption {
                    option_id: "yes".to_owned(),
                    name: "Yes".to_owned(),
                    kind: PermissionKind::AllowOnce,
                    scope: None,
                    grant: None,
                }],
                ..Permission::default()
            },
        );
        let expected = json!({
            "sessionId": "s",
            "toolCall": { "toolCallId": "p1", "title": "run ls" },
            "options": [{ "optionId": "yes", "name": "Yes", "kind": "allow_once" }],
            "_meta": { "promptd": { "permission": "p1" } },
        });
        assert_eq!(serde_json::to_value(asked).unwrap(), expected);
    }
}
