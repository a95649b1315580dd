//! Permission requests of agents, and their answers.

use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::http::json::Json;
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::state::SharedState;
use promptd_mask::{Masker, masked};
use promptd_model::{
    AnswerChoice, AnswerDetails, AskedQuestion, Permission, PermissionAnswer, PermissionOption, SessionState, time_text,
};

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
    /// What an allowing answer has to answer in `answers`.
    questions: Vec<AskedQuestion>,
    /// An allowing answer can have `updated_input`.
    takes_input: bool,
    /// A rejecting answer can have a `reason`.
    takes_reason: bool,
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
            questions: permission.questions,
            takes_input: permission.takes_input,
            takes_reason: permission.takes_reason,
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
        let option = |option: &PermissionOption| {
            let mut grant = option.grant.clone();
            if let (Some(masker), Some(grant)) = (masker, &mut grant) {
                masker.json_value(grant);
            }
            PermissionOption {
                option_id: masked(masker, &option.option_id),
                name: masked(masker, &option.name),
                kind: option.kind,
                scope: option.scope,
                grant,
            }
        };
        Permission {
            id: masked(masker, &permission.id),
            title: masked(masker, &permission.title),
            options: permission.options.iter().map(option).collect(),
            tool_call,
            questions: masked_questions(&permission.questions, masker),
            takes_input: permission.takes_input,
            takes_reason: permission.takes_reason,
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

fn masked_questions(questions: &[AskedQuestion], masker: Option<&Masker>) -> Vec<AskedQuestion> {
    let text = |text: &String| masked(masker, text);
    let choice = |choice: &AnswerChoice| AnswerChoice {
        value: text(&choice.value),
        label: choice.label.as_ref().map(text),
        description: choice.description.as_ref().map(text),
    };
    let question = |question: &AskedQuestion| AskedQuestion {
        id: text(&question.id),
        text: text(&question.text),
        header: question.header.as_ref().map(text),
        choices: question.choices.iter().map(choice).collect(),
        ..*question
    };
    questions.iter().map(question).collect()
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
    /// The `optionId` of one of the permission's options, or its `kind`. Of several options of that kind it is the one that
    /// grants least; where the agent does not say how long each of them holds, the answer is 400.
    option: String,
    /// The answers to the permission's `questions`, by their ids: a choice, a list of choices, or another value of the
    /// question's `type`.
    #[serde(default)]
    #[schema(value_type = Object)]
    answers: Map<String, Value>,
    /// With an option that allows: what the agent is to call its tool with instead.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    updated_input: Option<Value>,
    /// With an option that rejects: why, for the agent.
    #[serde(default)]
    reason: Option<String>,
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
        (status = 400, description = "`invalid_field`: no such option, or `field` is the wrong answer, such as `answers.color`"),
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
    let PermissionAnswer { id, option, .. } = {
        let details = AnswerDetails {
            answers: request.answers,
            updated_input: request.updated_input,
            reason: request.reason,
        };
        api.answer_permission(&session, permission, request.option, details)
            .await?
    };
    Ok(axum::Json(Answer { id, option }))
}
