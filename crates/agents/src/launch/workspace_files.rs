//! Workspace configuration files: `AGENTS.md`, skills, and codex's `config.toml`, found in the working directory, the
//! workspace or the home, and how each agent is pointed at those that it would not find by itself.
//!
//! Nothing is written into the working directory, and nothing is overwritten. An agent gets an option, a setting, or a
//! link at a path where nothing was.

use std::path::{Path, PathBuf};

use super::command::Link;
use super::request::TurnRequest;

/// The folder below [`TurnRequest::files_dir`] that agents are pointed at.
pub(crate) const FOLDER: &str = "mounted";

/// The file with instructions for any agent.
pub(crate) const AGENTS_MD: &str = "AGENTS.md";

/// Where `AGENTS.md` is. Some agents read it only in the working directory, some also in the folders above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentsMd<'a> {
    /// There is none, or it is in the working directory, where every agent finds it.
    FoundByItself,
    /// In a folder above the working directory.
    Above(&'a Path),
    /// Somewhere else.
    Elsewhere(&'a Path),
}

pub(crate) fn agents_md<'a>(request: &TurnRequest<'a>) -> AgentsMd<'a> {
    let Some(path) = request.workspace_files.agents_md.as_deref() else {
        return AgentsMd::FoundByItself;
    };
    match path.parent() {
        Some(folder) if folder == request.cwd => AgentsMd::FoundByItself,
        Some(folder) if request.cwd.starts_with(folder) => AgentsMd::Above(path),
        Some(_) | None => AgentsMd::Elsewhere(path),
    }
}

/// A link in [`FOLDER`] to the `AGENTS.md`, for an agent that is configured to include that folder.
pub(crate) fn agents_md_link(request: &TurnRequest<'_>) -> Option<Link> {
    match agents_md(request) {
        AgentsMd::FoundByItself => None,
        AgentsMd::Above(path) | AgentsMd::Elsewhere(path) => Some(Link {
            at: request.files_dir.join(FOLDER).join(AGENTS_MD),
            to: path.to_owned(),
        }),
    }
}

/// Links in `folder` to the skills that an agent does not find by itself. It looks into `own` below the working directory
/// and below the home. If it finds a skill there, no other skill of the same name is linked.
pub(crate) fn skill_links(request: &TurnRequest<'_>, own: &str, folder: &Path) -> Vec<Link> {
    let is_found = |skill: &Path| {
        let home = request.workspace_files.home.as_deref();
        let mut bases = std::iter::once(request.cwd).chain(home);
        bases.any(|base| skill.parent() == Some(&base.join(own)))
    };
    let (found, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        request.workspace_files.skills.iter().partition(|skill| is_found(skill));
    let mut names: Vec<_> = found.into_iter().filter_map(|skill| skill.file_name()).collect();
    let mut links = Vec::new();
    for skill in others {
        let Some(name) = skill.file_name().filter(|name| !names.contains(name)) else {
            continue;
        };
        names.push(name);
        links.push(Link {
            at: folder.join(name),
            to: skill.clone(),
        });
    }
    links
}

/// The same for agents that look into `.agents/skills`, as most do. The links are in the home.
pub(crate) fn shared_skill_links(request: &TurnRequest<'_>) -> Vec<Link> {
    const SHARED: &str = ".agents/skills";
    let home = request.workspace_files.home.as_deref();
    home.map_or_else(Vec::new, |home| skill_links(request, SHARED, &home.join(SHARED)))
}

#[cfg(test)]
#[path = "workspace_files_tests.rs"]
mod tests;
