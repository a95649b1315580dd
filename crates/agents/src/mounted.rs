//! What stands ready for any agent in its folders, and how it is shown to one that would not find it by itself.
//!
//! Nothing is written where the agent works, and nothing is overwritten: an option, a setting, or a link where there
//! was nothing.

use std::path::{Path, PathBuf};

use super::{Link, TurnRequest};

/// What was found: in the working directory, the workspace or the agent's home, the nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The agent's home, where a link may be put; none where there is no home, or where it belongs to a repository.
    pub home: Option<PathBuf>,
    /// Where codex keeps its configuration; none where no link may be put there.
    pub codex_home: Option<PathBuf>,
    /// The nearest `AGENTS.md`.
    pub instructions: Option<PathBuf>,
    /// Folders with a `SKILL.md`.
    pub skills: Vec<PathBuf>,
    /// A `config.toml` that is codex's.
    pub codex_config: Option<PathBuf>,
}

/// Nothing found.
pub static NOTHING_MOUNTED: Mounted = Mounted {
    home: None,
    codex_home: None,
    instructions: None,
    skills: Vec::new(),
    codex_config: None,
};

/// The folder below [`TurnRequest::files_dir`] that agents are pointed at.
pub(super) const FOLDER: &str = "mounted";

/// The name of the instructions for any agent.
pub(super) const INSTRUCTIONS: &str = "AGENTS.md";

/// Where `AGENTS.md` stands, for an agent that would read it there by itself only from below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions<'a> {
    /// There is none, or it stands in the working directory, where every agent finds it.
    Plain,
    /// In a folder above the working directory.
    Above(&'a Path),
    /// Somewhere else.
    Elsewhere(&'a Path),
}

pub(super) fn instructions<'a>(request: &TurnRequest<'a>) -> Instructions<'a> {
    let Some(path) = request.mounted.instructions.as_deref() else {
        return Instructions::Plain;
    };
    match path.parent() {
        Some(folder) if folder == request.cwd => Instructions::Plain,
        Some(folder) if request.cwd.starts_with(folder) => Instructions::Above(path),
        Some(_) | None => Instructions::Elsewhere(path),
    }
}

/// A link in [`FOLDER`] to the instructions that an agent does not find by itself, which is told to include that folder.
pub(super) fn instructions_to_include(request: &TurnRequest<'_>) -> Option<Link> {
    match instructions(request) {
        Instructions::Plain => None,
        Instructions::Above(path) | Instructions::Elsewhere(path) => Some(Link {
            at: request.files_dir.join(FOLDER).join(INSTRUCTIONS),
            to: path.to_owned(),
        }),
    }
}

/// Links in `folder` to the skills that an agent does not find by itself, which looks into `own` below the working
/// directory and the home. One of the same name that it does find stays the one.
pub(super) fn skills(request: &TurnRequest<'_>, own: &str, folder: &Path) -> Vec<Link> {
    let seen = |skill: &Path| {
        let home = request.mounted.home.as_deref();
        let mut bases = std::iter::once(request.cwd).chain(home);
        bases.any(|base| skill.parent() == Some(&base.join(own)))
    };
    let (found, others): (Vec<&PathBuf>, Vec<&PathBuf>) = request.mounted.skills.iter().partition(|skill| seen(skill));
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

/// The same for agents that look into `.agents/skills`, as most do: links in the home.
pub(super) fn shared_skills(request: &TurnRequest<'_>) -> Vec<Link> {
    const SHARED: &str = ".agents/skills";
    let home = request.mounted.home.as_deref();
    home.map_or_else(Vec::new, |home| skills(request, SHARED, &home.join(SHARED)))
}

#[cfg(test)]
#[path = "mounted_tests.rs"]
mod tests;
