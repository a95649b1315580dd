//! What an agent offers for a session, and the request that selects the model.

use agent_client_protocol_schema::v1::AGENT_METHOD_NAMES;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::output::lines::lenient::default_on_error;

/// The response to `session/new` and its siblings. `models` is older than `configOptions` and no longer in the standard;
/// gemini and qwen have it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Offer {
    #[serde(deserialize_with = "default_on_error")]
    pub(super) session_id: Option<String>,
    #[serde(deserialize_with = "default_on_error")]
    models: Value,
    #[serde(deserialize_with = "default_on_error")]
    pub(super) config_options: Vec<Value>,
    #[serde(deserialize_with = "default_on_error")]
    modes: Value,
}

impl Offer {
    /// A member of what the agent says about its modes.
    pub(super) fn mode_member(&self, name: &str) -> &Value {
        self.modes.get(name).unwrap_or(&Value::Null)
    }

    /// The request that selects the model; `None` if the agent uses it already or does not offer it.
    pub(super) fn model_request(&self, session: &str, model: &str) -> Option<(&'static str, Value)> {
        let is_offered = |list: &Value, key: &str| choices(list, key).iter().any(|(value, _)| *value == model);
        let option = self.config_options.iter().find(|option| {
            option["category"] == "model" && option["currentValue"] != *model && is_offered(&option["options"], "value")
        });
        if let Some(option) = option {
            let params = json!({ "sessionId": session, "configId": option["id"], "value": model });
            return Some((AGENT_METHOD_NAMES.session_set_config_option, params));
        }
        let models = &self.models;
        if models["currentModelId"] != *model && is_offered(&models["availableModels"], "modelId") {
            let params = json!({ "sessionId": session, "modelId": model });
            return Some(("session/set_model", params));
        }
        None
    }
}

/// The values of a list of choices, which can be nested in groups, each with its choice.
pub(super) fn choices<'a>(list: &'a Value, key: &str) -> Vec<(&'a str, &'a Value)> {
    let list = list.as_array().into_iter().flatten();
    let choices = list.flat_map(|choice| match choice.get(key).and_then(Value::as_str) {
        Some(value) => vec![(value, choice)],
        None => choice.get("options").map_or_else(Vec::new, |list| choices(list, key)),
    });
    choices.collect()
}
