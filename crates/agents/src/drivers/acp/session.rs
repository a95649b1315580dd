//! What an agent offers for a session, and the request that selects the model.

use agent_client_protocol_schema::v1::AGENT_METHOD_NAMES;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::output::lenient::default_on_error;

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
    config_options: Vec<Value>,
}

impl Offer {
    /// The request that selects the model; `None` if the agent uses it already or does not offer it.
    pub(super) fn model_request(&self, session: &str, model: &str) -> Option<(&'static str, Value)> {
        let is_offered = |list: Option<&Value>, key: &str| list.is_some_and(|list| offers(list, key, model));
        let option = self.config_options.iter().find(|option| {
            option["category"] == "model"
                && option["currentValue"] != *model
                && is_offered(option.get("options"), "value")
        });
        if let Some(option) = option {
            let params = json!({ "sessionId": session, "configId": option["id"], "value": model });
            return Some((AGENT_METHOD_NAMES.session_set_config_option, params));
        }
        let models = &self.models;
        if models["currentModelId"] != *model && is_offered(models.get("availableModels"), "modelId") {
            let params = json!({ "sessionId": session, "modelId": model });
            return Some(("session/set_model", params));
        }
        None
    }
}

/// Whether a list of choices, which can be nested in groups, has one with this value.
fn offers(list: &Value, key: &str, wanted: &str) -> bool {
    list.as_array().is_some_and(|list| {
        list.iter().any(|choice| {
            choice.get(key).is_some_and(|value| value == wanted)
                || choice.get("options").is_some_and(|list| offers(list, key, wanted))
        })
    })
}
