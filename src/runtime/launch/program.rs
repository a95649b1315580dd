//! Where an agent's program is, and what is started for it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use promptd_agents::Agent;
use promptd_model::SessionRequest;

/// Folders where installers put agents, for a server whose own PATH lacks them.
const MORE_PATH: [&str; 5] = [
    "/usr/local/bin",
    "~/.local/bin",
    "~/.npm-global/bin",
    "/usr/bin",
    "/bin",
];

/// Where programs are searched: the session's PATH, else ours, and the folders that installers use.
pub(crate) fn search_path(request: &SessionRequest) -> OsString {
    let given = request
        .env
        .get("PATH")
        .map(OsString::from)
        .or_else(|| std::env::var_os("PATH"))
        .unwrap_or_default();
    let home = request
        .env
        .get("HOME")
        .map(OsString::from)
        .or_else(|| std::env::var_os("HOME"));
    let mut folders: Vec<PathBuf> = std::env::split_paths(&given)
        .filter(|folder| !folder.as_os_str().is_empty())
        .collect();
    for more in MORE_PATH {
        let folder = match (more.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            (Some(_), None) => continue,
            (None, _) => PathBuf::from(more),
        };
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    std::env::join_paths(folders).unwrap_or(given)
}

/// What runs an agent.
pub(crate) struct Program {
    /// The agent's own program.
    pub(crate) found: PathBuf,
    /// What is started: that program, or the node that runs it.
    pub(crate) run: PathBuf,
    /// The script, where node is started.
    pub(crate) script: Option<String>,
}

/// The program to run: the first of the agent's names that is found, or the native binary or the script behind it.
pub(crate) fn find_program(agent: &Agent, request: &SessionRequest, cwd: &Path) -> Option<Program> {
    let path = search_path(request);
    let itself = |found: PathBuf| Program {
        run: found.clone(),
        found,
        script: None,
    };
    let found = agent
        .programs()
        .into_iter()
        .find_map(|name| which::which_in(name, Some(&path), cwd).ok())?;
    let Agent::BuiltIn(known) = agent else {
        return Some(itself(found));
    };
    // Without links: a launcher finds its package by its real path.
    let native = fs::canonicalize(&found)
        .map(|real| (known.native)(&real))
        .unwrap_or_default();
    let behind = native.into_iter().find_map(|path_behind| {
        if path_behind.extension().is_some_and(|extension| extension == "js") {
            let script = path_behind.is_file().then(|| path_behind.to_str())??.to_owned();
            let node = which::which_in("node", Some(&path), cwd).ok()?;
            return Some(Program {
                found: found.clone(),
                run: node,
                script: Some(script),
            });
        }
        is_executable(&path_behind).then(|| itself(path_behind))
    });
    Some(behind.unwrap_or_else(|| itself(found)))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}
