//! Checks of agents and their API keys.

use super::check::Check;
use crate::runtime::{AgentInfo, version};

/// Agents and the variables of their API keys. Values are never printed.
const KEYS: &[(&str, &[&str])] = &[
    (
        "claude",
        &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"],
    ),
    ("codex", &["OPENAI_API_KEY", "CODEX_API_KEY"]),
    ("gemini", &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    ("qwen", &["OPENAI_API_KEY"]),
    (
        "copilot",
        &[
            "COPILOT_GITHUB_TOKEN",
            "GH_TOKEN",
            "GITHUB_TOKEN",
            "COPILOT_PROVIDER_API_KEY",
        ],
    ),
    ("droid", &["FACTORY_API_KEY"]),
];

/// Asks all agents at the same time: `--version` can take a second.
pub(super) fn installed(agents: &[AgentInfo]) -> Vec<Check> {
    let mut checks: Vec<Check> = std::thread::scope(|scope| {
        let asked: Vec<_> = agents.iter().map(|info| (info, scope.spawn(|| agent(info)))).collect();
        let answers = asked.into_iter().map(|(info, answer)| {
            answer
                .join()
                .unwrap_or_else(|_| Check::warn(agent_name(info), "could not be asked", "try again"))
        });
        answers.collect()
    });
    if agents.iter().all(|agent| agent.path.is_none() || agent.name == "shell") {
        checks.push(Check::fail(
            "agents",
            "no coding agent is installed",
            "install one, such as `npm install -g @anthropic-ai/claude-code`",
        ));
    }
    checks
}

fn agent_name(info: &AgentInfo) -> String {
    format!("agent {}", info.name)
}

fn agent(info: &AgentInfo) -> Check {
    let name = agent_name(info);
    let Some(path) = &info.path else {
        let missing = info.missing.clone().unwrap_or_else(|| "not installed".to_owned());
        let hint = info.install.as_ref().map_or_else(
            || format!("check its command under [agents.{}]", info.name),
            |install| format!("install it with `{install}`"),
        );
        // A configured agent must be there; of the built-in ones, one is enough.
        return if info.configured || info.name == "shell" {
            Check::fail(name, missing, hint)
        } else {
            Check::warn(name, missing, hint)
        };
    };
    let place = path.display();
    if info.configured {
        // An unknown program may not have `--version`.
        return Check::ok(name, place.to_string());
    }
    match version(path) {
        Ok(version) => Check::ok(name, format!("{version} ({place})")),
        Err(problem) => Check::warn(
            name,
            format!("{place} is there, but --version {problem}"),
            "run it in a shell to see why",
        ),
    }
}

pub(super) fn keys(agents: &[AgentInfo], configured: &[String]) -> Vec<Check> {
    let wanted = KEYS
        .iter()
        .filter(|(agent, _)| agents.iter().any(|info| info.name == *agent && info.path.is_some()));
    wanted.map(|(agent, names)| key(agent, names, configured)).collect()
}

fn key(agent: &str, names: &[&str], configured: &[String]) -> Check {
    let set = names
        .iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let name = format!("key for {agent}");
    if let Some(known) = names.iter().find(|&&name| configured.iter().any(|other| other == name)) {
        return Check::ok(name, format!("{known} is configured"));
    }
    match (set, names.first()) {
        (Some(set), _) => Check::ok(name, format!("{set} is set")),
        (None, first) => Check::warn(
            name,
            format!("none of {} is set", names.join(", ")),
            format!(
                "set {} and run promptd configure, give it in a session's `env`, or log in with {agent} itself",
                first.unwrap_or(&"one")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn only_the_name_of_a_key_is_printed() {
        let check = key("x", &["PROMPTD_SURELY_NOT_SET", "PATH"], &[]);
        assert_eq!((check.state, check.detail.as_str()), (State::Ok, "PATH is set"));
        assert_eq!(key("x", &["PROMPTD_SURELY_NOT_SET"], &[]).state, State::Warn);
        let configured = key("x", &["CONFIGURED"], &["CONFIGURED".to_owned()]);
        assert_eq!(
            (configured.state, configured.detail.as_str()),
            (State::Ok, "CONFIGURED is configured")
        );
    }

    #[test]
    fn missing_agent_has_an_install_hint() {
        let info = AgentInfo {
            name: "claude".into(),
            path: None,
            install: Some("npm install -g x".into()),
            configured: false,
            evidence: None,
            capabilities: promptd_agents::Capabilities::default(),
            missing: Some("no claude on PATH".into()),
        };
        let check = agent(&info);
        assert_eq!(
            (check.state, check.hint.as_deref()),
            (State::Warn, Some("install it with `npm install -g x`"))
        );
    }
}
