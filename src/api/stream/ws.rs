//! `GET /v1/sessions/{id}/ws`: a session over a WebSocket, records out and commands in.
//!
//! Out: each record as one text message, as the journal has it, secrets masked. Answers to commands are
//! `{"type":"ack",…}` and `{"type":"error","code","detail"}`; they have no `seq`. In: see [`Command`].

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api::http::json::parse_message;
use crate::api::http::path::SessionPath;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::sessions::turns::PromptRequest;
use crate::api::state::{AppState, SharedState};
use crate::api::stream::feed::{Feed, Until};
use crate::api::stream::websocket::{CloseFrame, Disconnected, Receiver, Sender, Upgrade};
use crate::runtime::Session;
use promptd_model::{AnswerDetails, View};

/// What a client may send.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    /// Begins the next turn.
    Prompt(PromptRequest),
    /// Asks the agent to stop this turn.
    Interrupt {},
    /// Ends the turn and its process tree.
    Stop {
        #[serde(default)]
        grace: Option<f64>,
    },
    /// Writes to the agent's standard input.
    Input {
        #[serde(default)]
        data: String,
        #[serde(default)]
        close: bool,
    },
    /// Answers a permission request of the agent.
    Permission {
        id: String,
        option: String,
        #[serde(default)]
        answers: Map<String, Value>,
        #[serde(default)]
        updated_input: Option<Value>,
        #[serde(default)]
        reason: Option<String>,
    },
}

/// The journal over WebSocket, and commands back.
#[utoipa::path(get, path = "/v1/sessions/{id}/ws", tag = "sessions",
    params(
        ("after" = Option<u64>, Query, description = "Begin after this `seq`; 0 when absent"),
        ("follow" = Option<bool>, Query, description = "false: send what is there and close; true when absent"),
        ("view" = Option<View>, Query, description = "`raw`, the journal's own lines, when absent; with `updates` what agents say comes as `UpdateEvent`s"),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`promptd.bearer.<token>`, for browsers"),
    ),
    responses(
        (status = 101, description = "Records as text messages; in: `{\"type\":\"prompt\",\"prompt\",\"fresh\",\"when\",\"model\",\"permission\",\"max_turns\"}`, `{\"type\":\"interrupt\"}`, `{\"type\":\"stop\",\"grace\"}`, `{\"type\":\"input\",\"data\",\"close\"}`, `{\"type\":\"permission\",\"id\",\"option\",\"answers\",\"updated_input\",\"reason\"}`"),
        (status = 426, description = "`upgrade_required`"),
    ))]
pub(crate) async fn session(
    State(api): State<SharedState>,
    SessionPath(session): SessionPath,
    query: Query,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let query = query.only(&["after", "follow", "view"])?;
    let view = query.view()?;
    let after = query.number("after")?.unwrap_or(0);
    let until = if query.flag("follow", true)? {
        Until::Deleted
    } else {
        Until::Now
    };
    let upgrade = upgrade?;
    let feed = Feed::open(&api.runtime, &session, after, until, view)?;
    Ok(upgrade.serve(&Arc::clone(&api), async move |sender, mut receiver| {
        tokio::select! {
            closed = sender.send_feed(feed) => closed,
            closed = execute_commands(&api, &session, &sender, &mut receiver) => closed,
        }
    }))
}

/// Executes commands until the client is gone.
async fn execute_commands(
    api: &AppState,
    session: &Arc<Session>,
    sender: &Sender,
    receiver: &mut Receiver,
) -> Result<CloseFrame, Disconnected> {
    loop {
        let answer = match receiver.next_text().await? {
            Ok(text) => execute(api, session, &text).await,
            Err(problem) => Err(problem),
        };
        receiver.release_memory();
        send_answer(sender, answer.map_err(|problem| api.masked(Some(session), problem))).await?;
    }
}

/// Sends the answer to a command.
pub(crate) async fn send_answer(sender: &Sender, answer: Result<Value, Problem>) -> Result<(), Disconnected> {
    let value =
        answer.unwrap_or_else(|problem| json!({ "type": "error", "code": problem.code(), "detail": problem.detail() }));
    sender.send_text(value.to_string()).await
}

/// Executes one command; returns its `ack`.
pub(crate) async fn execute(api: &AppState, session: &Arc<Session>, text: &str) -> Result<Value, Problem> {
    match parse_message(text.as_bytes())? {
        Command::Prompt(prompt) => {
            let prompted = api.prompt(session, prompt, None).await?;
            Ok(json!({ "type": "ack", "command": "prompt", "turn": prompted.turn }))
        }
        Command::Interrupt {} => {
            api.interrupt(session, BTreeSet::new()).await?;
            Ok(json!({ "type": "ack", "command": "interrupt" }))
        }
        Command::Stop { grace } => {
            let survivors = api.stop(session, grace).await?;
            Ok(json!({ "type": "ack", "command": "stop", "survivors": survivors }))
        }
        Command::Input { data, close } => {
            api.input(session, data.into(), close).await?;
            Ok(json!({ "type": "ack", "command": "input" }))
        }
        Command::Permission {
            id,
            option,
            answers,
            updated_input,
            reason,
        } => {
            let details = AnswerDetails {
                answers,
                updated_input,
                reason,
            };
            let answer = api.answer_permission(session, id, option, details).await?;
            Ok(json!({ "type": "ack", "command": "permission", "id": answer.id, "option": answer.option }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parsed_and_typos_refused() {
        let parse = |text: &str| parse_message::<Command>(text.as_bytes());
        let stop = parse(r#"{"type":"stop","grace":5}"#);
        assert!(matches!(stop, Ok(Command::Stop { grace: Some(_) })));
        assert!(matches!(parse(r#"{"type":"interrupt"}"#), Ok(Command::Interrupt {})));
        let input = parse(r#"{"type":"input","data":"y\n","close":true}"#);
        assert!(matches!(input, Ok(Command::Input { close: true, .. })));
        let permission = parse(r#"{"type":"permission","id":"p1","option":"allow_once"}"#);
        assert!(matches!(permission, Ok(Command::Permission { .. })));
        for typo in [r#"{"type":"prompt","promt":"x"}"#, r#"{"type":"interrupt","x":1}"#] {
            assert_eq!(parse(typo).unwrap_err().code(), "unknown_field");
        }
        let unknown = parse(r#"{"type":"halt"}"#).unwrap_err();
        assert!(unknown.detail().contains("`interrupt`"), "{}", unknown.detail());
    }
}
