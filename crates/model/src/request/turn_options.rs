//! What a prompt may choose for its own turn.

use serde::{Deserialize, Serialize};

use super::session::{PermissionMode, SessionRequest};
use crate::record::known;

/// What a prompt chooses for its turn. Where it chooses nothing, the session's own value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnOptions {
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the agent may do without asking.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    pub permission: Option<PermissionMode>,
    /// Maximum model requests in the turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
}

impl TurnOptions {
    /// Whether it chooses nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The request of a session, as it is for this turn.
    #[must_use]
    pub fn applied_to(&self, mut request: SessionRequest) -> SessionRequest {
        let Self {
            model,
            permission,
            max_turns,
        } = self.clone();
        request.model = model.or(request.model);
        request.max_turns = max_turns.or(request.max_turns);
        request.permission = permission.or(request.permission);
        if request.permission != Some(PermissionMode::Ask) {
            // They are for turns that ask.
            (request.permission_timeout, request.permission_default) = (None, None);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PermissionDefault;

    #[test]
    fn choices_win_over_the_session_and_the_rest_stays() {
        let session = SessionRequest {
            model: Some("small".to_owned()),
            permission: Some(PermissionMode::Ask),
            permission_default: Some(PermissionDefault::Allow),
            max_turns: Some(3),
            ..SessionRequest::default()
        };
        assert_eq!(TurnOptions::default().applied_to(session.clone()), session);
        let options = TurnOptions {
            model: Some("large".to_owned()),
            permission: Some(PermissionMode::Bypass),
            max_turns: None,
        };
        let turn = options.applied_to(session);
        assert_eq!((turn.model.as_deref(), turn.max_turns), (Some("large"), Some(3)));
        assert_eq!(
            (turn.permission, turn.permission_default),
            (Some(PermissionMode::Bypass), None)
        );
    }

    #[test]
    fn word_of_a_newer_version_is_passed_over() {
        let options = serde_json::from_str::<TurnOptions>(r#"{"model":"m","permission":"plan"}"#).unwrap();
        assert_eq!((options.model.as_deref(), options.permission), (Some("m"), None));
    }
}
