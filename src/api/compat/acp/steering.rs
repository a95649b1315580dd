//! Messages of the client into the turn that runs.

use agent_client_protocol_schema::v1::{ContentBlock, Error};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::Connection;
use super::message::{meta, params};
use super::requests;
use crate::runtime::NewPrompt;
use promptd_model::When;

/// A message into the running turn: the extension that the ACP adapters of claude and codex have, too.
pub(super) const STEERING: &str = "_session/steering";

/// The parameters of [`STEERING`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Steering {
    session_id: String,
    prompt: Vec<ContentBlock>,
    #[serde(default, rename = "_meta")]
    meta: Value,
}

impl Connection {
    /// Passes a message on to the agent that works. If no turn runs, the message is the prompt of a turn, unless the client
    /// wants to send it itself then.
    pub(super) async fn steer(&self, given: Value) -> Result<Value, Error> {
        let wanted: Steering = params(given)?;
        let session = self.find(&wanted.session_id)?;
        let content = requests::prompt(&wanted.prompt)?;
        let prompt = |when| NewPrompt {
            when,
            ..NewPrompt::from(content.clone())
        };
        let (outcome, turn) = match self.api.prompt(&session, prompt(When::Now), None).await {
            Ok(prompted) => ("injected", prompted.turn),
            Err(problem) if problem.code() == "not_running" => {
                if wanted
                    .meta
                    .pointer("/steering/idleBehavior")
                    .is_some_and(|idle| idle == "promptRequired")
                {
                    return Ok(json!({ "outcome": "promptRequired", "reason": "noRunningTurn" }));
                }
                let prompted = self.api.prompt(&session, prompt(When::Next), None).await;
                let prompted = prompted.map_err(|problem| self.masked(&session, problem))?;
                ("startedNewTurn", prompted.turn)
            }
            Err(problem) => return Err(self.masked(&session, problem)),
        };
        Ok(json!({ "outcome": outcome, "_meta": meta(json!({ "turn": turn })) }))
    }
}
