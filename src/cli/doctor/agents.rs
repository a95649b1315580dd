//! The agents and their programs, without a runtime.
//!
//! A stand-in for `runtime::launch::list`, which knows more folders than `PATH` and finds native binaries; once
//! `runtime` exports it, this file goes.

use crate::agents;
use crate::runtime::{AgentInfo, Settings};

pub(super) fn agents(settings: &Settings) -> Vec<AgentInfo> {
    let known = agents::known().filter(|known| !settings.agents.contains_key(known.name));
    let known = known.map(|known| {
        let install = Some(known.install.to_owned());
        describe(known.name, known.programs, install, known.capabilities)
    });
    let configured = settings.agents.iter().map(|(name, agent)| {
        let program = agent.command.first().map_or("", String::as_str);
        describe(name, &[program], None, agents::Capabilities::default())
    });
    known.chain(configured).collect()
}

fn describe(name: &str, programs: &[&str], install: Option<String>, capabilities: agents::Capabilities) -> AgentInfo {
    let path = programs.iter().find_map(|program| which::which(program).ok());
    let missing = path.is_none().then(|| format!("no {} on PATH", programs.join(" or ")));
    AgentInfo {
        name: name.to_owned(),
        path,
        configured: install.is_none(),
        install,
        capabilities,
        missing,
    }
}
