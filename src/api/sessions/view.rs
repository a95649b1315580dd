//! A session as callers see it: never its `env`, and no secret in any field.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::sessions::permissions::PermissionView;
use crate::runtime::{Runtime, Session};
use promptd_mask::{Masker, masked};
use promptd_model::{
    Cause, PermissionMode, Resources, SessionStatus, StopReason, TurnPhase, TurnState, Usage, time_text,
};
use promptd_sinks::SinkStatus;

/// A session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionView {
    /// Its id.
    id: String,
    /// The agent's name.
    agent: String,
    /// What the agent writes: `lines` is plain text, `view=updates` turns all others into ACP updates.
    format: Option<&'static str>,
    /// What it does, or how its last turn ended.
    status: SessionStatus,
    /// Its turns in order.
    turns: Vec<TurnView>,
    /// Its place in the queue, beginning with 1.
    queue_position: Option<usize>,
    /// The `seq` of its last record.
    last_seq: u64,
    /// When it was created, RFC 3339.
    created_at: String,
    /// When its last record was written.
    updated_at: String,
    /// The working directory, absolute.
    cwd: String,
    /// The agent's own id for its session, as soon as the agent has reported it.
    agent_session_id: Option<String>,
    /// What the agent waits on, oldest first; see `…/permissions`.
    pending_permissions: Vec<PermissionView>,
    /// Where the journal is pushed to, and how far that is.
    sinks: Vec<SinkStatus>,
    /// The caller's own data.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// What the ended turns used together.
    usage: Usage,
}

/// A turn.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Turn)]
struct TurnView {
    /// Its number, beginning with 1.
    turn: u32,
    /// The agent began a new conversation with it, as its prompt said.
    fresh: bool,
    /// The model that was asked for: with its prompt, else with the session.
    model: Option<String>,
    /// What the agent may do without asking in it.
    permission: PermissionMode,
    /// Maximum model requests in it.
    max_turns: Option<u32>,
    /// The turns before it of which the agent knows nothing, although nobody asked for a new conversation: it had stored
    /// nothing of them when they ended.
    forgotten_turns: Vec<u32>,
    /// What it does, or how it ended.
    status: SessionStatus,
    /// Why it did not complete.
    cause: Option<Cause>,
    /// What the agent, or promptd, says about that.
    error: Option<String>,
    /// When the quota that is used up is full again, if the agent says it.
    reset_at: Option<String>,
    /// Why the agent stopped speaking.
    stop_reason: Option<StopReason>,
    /// The exit code of the agent's process.
    exit_code: Option<i32>,
    /// The signal that killed it.
    signal: Option<String>,
    /// When the agent's process was started.
    started_at: Option<String>,
    /// When the turn was over.
    ended_at: Option<String>,
    /// Seconds the process ran.
    duration: Option<f64>,
    /// The agent's final answer.
    result: Option<String>,
    /// Tokens and money.
    usage: Option<Usage>,
    /// What the process used.
    resources: Option<Resources>,
    /// The `seq` of its `prompt` record: where its part of the journal begins.
    first_seq: u64,
    /// The attempt, beginning with 1.
    attempt: u32,
    /// Processes of its tree that live on.
    leftover_processes: u32,
}

impl SessionView {
    pub(crate) fn of(runtime: &Runtime, session: &Session) -> Self {
        let state = session.latest();
        let created_at = session.created_at();
        let masker = runtime.masks.of_session(session);
        let masker = masker.as_deref();
        let mut metadata = session.request().metadata.clone();
        if let Some(masker) = masker {
            metadata.values_mut().for_each(|value| masker.json_value(value));
        }
        Self {
            id: session.id().to_string(),
            agent: session.agent().to_owned(),
            format: runtime.format(session),
            status: state.status(),
            turns: state
                .turns
                .iter()
                .map(|turn| TurnView::of(session, turn, masker))
                .collect(),
            queue_position: runtime.queue_position(session),
            last_seq: state.last_seq,
            created_at: time_text(created_at),
            updated_at: time_text(state.updated_at.unwrap_or(created_at)),
            cwd: masked(masker, &session.cwd().display().to_string()),
            agent_session_id: session.agent_session_id(&state).map(|id| masked(masker, &id)),
            pending_permissions: PermissionView::all(&state, masker),
            sinks: runtime.sinks(session),
            metadata,
            usage: state.usage(),
        }
    }
}

impl TurnView {
    fn of(session: &Session, turn: &TurnState, masker: Option<&Masker>) -> Self {
        let (ended, exited) = (turn.ended(), turn.exited.as_ref());
        let (own, chosen) = (session.request(), &turn.options);
        let model = chosen.model.as_ref().or(own.model.as_ref());
        Self {
            turn: turn.turn,
            fresh: turn.fresh,
            model: model.map(|model| masked(masker, model)),
            permission: chosen.permission.or(own.permission).unwrap_or_default(),
            max_turns: chosen.max_turns.or(own.max_turns),
            forgotten_turns: turn.forgotten.clone(),
            status: match &turn.phase {
                TurnPhase::Queued => SessionStatus::Queued,
                TurnPhase::Running if !turn.permissions.is_empty() => SessionStatus::Waiting,
                TurnPhase::Running | TurnPhase::Exited | TurnPhase::Retrying { .. } => SessionStatus::Running,
                TurnPhase::Ended(ended) => ended.status.into(),
            },
            cause: ended.and_then(|ended| ended.cause),
            error: ended.and_then(|ended| Some(masked(masker, ended.error.as_ref()?))),
            reset_at: ended.and_then(|ended| ended.reset_at.map(time_text)),
            stop_reason: ended.and_then(|ended| ended.stop_reason),
            exit_code: exited.and_then(|exited| exited.code),
            signal: exited.and_then(|exited| exited.signal.clone()),
            started_at: turn.started.as_ref().map(|(_, at)| time_text(*at)),
            ended_at: turn.ended_at.map(time_text),
            duration: exited.map(|exited| exited.duration),
            result: ended.and_then(|ended| Some(masked(masker, ended.result.as_ref()?))),
            usage: ended.and_then(|ended| ended.usage),
            resources: exited.map(|exited| exited.resources),
            first_seq: turn.prompt_seq,
            attempt: turn.attempt,
            leftover_processes: exited.map_or(0, |exited| exited.leftover_processes),
        }
    }
}
