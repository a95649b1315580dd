//! The mode in which an ACP agent asks before it changes something. Many agents begin in one in which they decide alone.

use agent_client_protocol_schema::v1::AGENT_METHOD_NAMES;
use serde_json::{Value, json};

use super::session::{Offer, choices};
use crate::output::tools::tool::str_at;

/// The asking mode of agents by the name that they give in `initialize`. The words of these agents alone do not tell it.
const KNOWN: [(&str, &str); 8] = [
    ("@agentclientprotocol/claude-agent-acp", "default"),
    ("@zed-industries/claude-agent-acp", "default"),
    ("@zed-industries/claude-code-acp", "default"),
    // Its other modes write into the workspace without a question.
    ("@agentclientprotocol/codex-acp", "read-only"),
    ("@zed-industries/codex-acp", "read-only"),
    ("codex-acp", "read-only"),
    ("gemini-cli", "default"),
    ("qwen-code", "default"),
];

/// Modes that ask say so in their names and descriptions, with one of these.
const WORDS: [&str; 16] = [
    "always ask",
    "ask before making changes",
    "asks before making changes",
    "ask before each",
    "asks before each",
    "ask before every",
    "asks before every",
    "ask before any",
    "asks before any",
    "prompts for approval",
    "prompts for dangerous",
    "requires approval",
    "require approval",
    "approval is required",
    "requires confirmation",
    "asks for permission",
];

/// Before them, they say the opposite.
const NEGATIONS: [&str; 6] = ["not", "n't", "never", "no longer", "no", "without"];

/// How the agent is made to ask, if its launch does not do that.
pub(super) struct AskMode {
    /// The mode that the configuration names for it.
    pub(super) configured: Option<String>,
}

/// The request that selects the mode in which the agent asks; `None` if it is in that mode, or offers no modes.
///
/// # Errors
/// If the agent offers modes, and none is known to ask. The turn must not begin then.
pub(super) fn request(
    offer: &Offer,
    session: &str,
    agent: &str,
    configured: Option<&str>,
) -> Result<Option<(&'static str, Value)>, String> {
    let option = offer.config_options.iter().find(|option| option["category"] == "mode");
    let of_option = option.map_or_else(Vec::new, |option| choices(&option["options"], "value"));
    let of_modes = choices(offer.mode_member("availableModes"), "id");
    let known = KNOWN.iter().find(|(name, _)| *name == agent).map(|(_, mode)| *mode);
    let wanted = configured.or(known);
    if of_option.is_empty() && of_modes.is_empty() {
        return Ok(wanted.map(|mode| set_mode(session, mode)));
    }
    let offered = || of_modes.iter().chain(&of_option);
    let is_offered = |mode: &&str| offered().any(|(id, _)| id == mode);
    let by_words = || {
        let asks = |(_, mode): &&(&str, &Value)| says_that_it_asks(mode);
        offered().find(asks).map(|(id, _)| *id)
    };
    let mode = match configured {
        Some(mode) => Some(mode).filter(is_offered),
        None => known.filter(is_offered).or_else(by_words),
    };
    let Some(mode) = mode else {
        return Err(no_mode(configured, offered().map(|(id, _)| *id)));
    };
    if let Some(option) = option.filter(|_| of_option.iter().any(|(id, _)| *id == mode)) {
        let params = json!({ "sessionId": session, "configId": option["id"], "value": mode });
        let is_set = option["currentValue"] == *mode;
        return Ok((!is_set).then_some((AGENT_METHOD_NAMES.session_set_config_option, params)));
    }
    let is_set = *offer.mode_member("currentModeId") == *mode;
    Ok((!is_set).then(|| set_mode(session, mode)))
}

fn set_mode(session: &str, mode: &str) -> (&'static str, Value) {
    let params = json!({ "sessionId": session, "modeId": mode });
    (AGENT_METHOD_NAMES.session_set_mode, params)
}

fn says_that_it_asks(mode: &Value) -> bool {
    let text = format!("{} {}", str_at(mode, "name"), str_at(mode, "description")).to_lowercase();
    let is_denied = |before: &str| {
        let before = before.trim_end();
        NEGATIONS.iter().any(|negation| before.ends_with(negation))
    };
    WORDS.iter().any(|words| {
        let mut found = text.match_indices(words);
        found.any(|(at, _)| !is_denied(text.get(..at).unwrap_or_default()))
    })
}

fn no_mode<'a>(configured: Option<&str>, offered: impl Iterator<Item = &'a str>) -> String {
    let mut modes: Vec<String> = Vec::new();
    for mode in offered.map(|mode| format!("{mode:?}")) {
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    let modes = modes.join(", ");
    match configured {
        Some(mode) => format!(
            "the agent does not offer the mode {mode:?} that `ask_mode` names; name one of {modes} in its section of config.toml"
        ),
        None => format!(
            "`permission: \"ask\"` cannot be honoured: none of the agent's modes is known to ask; if one of {modes} asks, \
             name it with `ask_mode` in the agent's section of config.toml, or give \"bypass\""
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_that_denies_that_it_asks_is_none_that_asks() {
        for (description, asks) in [
            ("Requires approval for edits", true),
            ("Asks for permission before it writes", true),
            ("Does not require approval. Edits require approval.", true),
            ("Does not require approval", false),
            ("Doesn't require approval for edits", false),
            ("Never asks for permission", false),
            ("Edits files, no approval is required", false),
        ] {
            let mode = json!({ "name": "Mode", "description": description });
            assert_eq!(says_that_it_asks(&mode), asks, "{description}");
        }
    }
}
