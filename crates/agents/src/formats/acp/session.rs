//! What the agent says about the session when it begins, and about requests that it makes again.

use agent_client_protocol_schema::v1::{
    ConfigOptionUpdate, ContentBlock, CurrentModeUpdate, SessionConfigOption, SessionUpdate,
};
use serde::Deserialize;
use serde_json::Value;

use super::complete::has_all;
use crate::output::session::{self, Retry};
use crate::output::update::Update;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Begun {
    modes: Option<Modes>,
    models: Option<Models>,
    config_options: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modes {
    current_mode_id: String,
    #[serde(default)]
    available_modes: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Models {
    current_model_id: String,
    #[serde(default)]
    available_models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    model_id: String,
    name: String,
}

/// The mode, the model and the options of a session that has begun or is resumed. `None` if they have an unexpected shape.
pub(super) fn begin(response: &str) -> Option<Vec<Update>> {
    let begun: Begun = serde_json::from_str(response).ok()?;
    let mut updates = Vec::new();
    if let Some(modes) = begun.modes {
        let update = Update::from(SessionUpdate::CurrentModeUpdate(CurrentModeUpdate::new(
            modes.current_mode_id,
        )));
        updates.push(update.with_meta("available_modes", modes.available_modes));
    }
    let options = begun.config_options.unwrap_or_default();
    let mut known: Vec<SessionConfigOption> = Vec::new();
    for source in &options {
        let option = serde_json::from_value(source.clone()).ok()?;
        if !has_all(source, &option) {
            return None;
        }
        known.push(option);
    }
    if !known.is_empty() {
        updates.push(SessionUpdate::ConfigOptionUpdate(ConfigOptionUpdate::new(known)).into());
    } else if let Some(models) = begun.models {
        let choices = models.available_models.iter();
        let choices = choices.map(|model| (model.model_id.as_str(), model.name.as_str()));
        updates.extend(session::model_of(&models.current_model_id, choices));
    }
    Some(updates)
}

/// Copilot says in the agent's own text that it makes a request again.
pub(super) fn copilot_retry(update: &SessionUpdate) -> Option<Update> {
    let SessionUpdate::AgentMessageChunk(chunk) = update else {
        return None;
    };
    let ContentBlock::Text(text) = &chunk.content else {
        return None;
    };
    let reason = text.text.trim().strip_prefix("Info: ")?;
    let reason = reason.strip_suffix("Retrying...")?.trim();
    let retry = Retry {
        error: reason,
        ..Retry::default()
    };
    Some(retry.update())
}
