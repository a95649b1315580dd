//! Permission requests of agents, and their answers.

use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::http::json::Json;
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::state::SharedState;
use promptd_mask::{Masker, masked};
use promptd_model::{Permission, PermissionAnswer, PermissionOption, SessionState, time_text};

/// A permission that an agent waits for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PendingPermission)]
pub(crate) struct PermissionView {
    /// What to answer it by.
    id: String,
    /// The turn that waits.
    turn: u32,
    /// What the agent wants to do, in a few words.
    title: String,
    /// What can be answered.
    options: Vec<PermissionOption>,
    /// The call that waits, as ACP's `ToolCallUpdate`.
    #[schema(value_type = Option<Object>)]
    tool_call: Option<Value>,
    /// When it was asked, RFC 3339.
    asked_at: String,
    /// When the session's `permission_default` is answered in place of a caller; put off by pauses of the machine.
    expires_at: Option<String>,
}

impl PermissionView {
    fn of(turn: u32, (permission, asked_at): &(Permission, Timestamp), masker: Option<&Masker>) -> Self {
        let permission = Self::masked(permission, masker);
        Self {
            id: permission.id,
            turn,
            title: permission.title,
            options: permission.options,
            tool_call: permission.tool_call,
            asked_at: time_text(*asked_at),
            expires_at: permission.expires_at.map(time_text),
        }
    }

    /// A request without its secrets.
    pub(crate) fn masked(permission: &Permission, masker: Option<&Masker>) -> Permission {
        let mut tool_call = permission.tool_call.clone();
        if let (Some(masker), Some(call)) = (masker, &mut tool_call) {
            masker.json_value(call);
        }
        let option = |option: &PermissionOption| PermissionOption {
            option_id: masked(masker, &option.option_id),
            name: masked(masker, &option.name),
            kind: option.kind,
        };
        Permission {
            id: masked(masker, &permission.id),
            title: masked(masker, &permission.title),
            options: permission.options.iter().map(option).collect(),
            tool_call,
            expires_at: permission.expires_at,
        }
    }

    /// All that a session's agent waits for, oldest first.
    pub(crate) fn all(state: &SessionState, masker: Option<&Masker>) -> Vec<Self> {
        let turn = state.current().map_or(0, |turn| turn.turn);
        let pending = state.pending_permissions();
        pending.map(|permission| Self::of(turn, permission, masker)).collect()
    }
}

/// The permissions that an agent waits for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct PermissionList {
    /// Oldest first; empty where it waits for nothing.
    permissions: Vec<PermissionView>,
}

/// Lists the permissions that the session's agent waits for.
#[utoipa::path(get, path = "/v1/sessions/{id}/permissions", tag = "sessions",
    responses(
        (status = 200, description = "Its pending permissions", body = PermissionList),
    ))]
pub(crate) async fn list(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
) -> Result<axum::Json<PermissionList>, Problem> {
    query.only(&[])?;
    let masker = api.runtime.masks.of_session(&session);
    let permissions = PermissionView::all(&session.latest(), masker.as_deref());
    Ok(axum::Json(PermissionList { permissions }))
}

/// An answer.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerRequest {
    /// The `optionId` of one of the permission's options, or its `kind` where no other option is of that kind.
    option: String,
}

/// The answer that counts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Answer {
    /// The permission.
    id: String,
    /// The `optionId` that was chosen.
    option: String,
}

/// Answers a permission request of the session's agent, which then continues.
#[utoipa::path(post, path = "/v1/sessions/{id}/permissions/{permission}", tag = "sessions", request_body = AnswerRequest,
    params(
        ("permission" = String, Path, description = "The permission"),
    ),
    responses(
        (status = 200, description = "Answered; also when the same answer is given again", body = Answer),
        (status = 400, description = "`invalid_field`: no such option"),
        (status = 404, description = "`permission_not_found`, `session_not_found`"),
        (status = 409, description = "`permission_answered`"),
    ))]
pub(crate) async fn answer(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    Path((_, permission)): Path<(String, String)>,
    query: Query,
    Json(request): Json<AnswerRequest>,
) -> Result<axum::Json<Answer>, Problem> {
    query.only(&[])?;
    let PermissionAnswer { id, option, .. } = api.answer_permission(&session, permission, request.option).await?;
    Ok(axum::Json(Answer { id, option }))
}
