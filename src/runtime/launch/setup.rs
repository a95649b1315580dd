//! A session's repository and setup commands: checked when it is accepted, given to the keeper before its first agent
//! starts.

use std::path::{Path, PathBuf};

use crate::runtime::access::variables::Variables;
use crate::runtime::error::RuntimeError;
use crate::runtime::launch::program::search_path;
use crate::runtime::session::handle::Session;
use promptd_keeper::SetupSpec;
use promptd_model::{MAX_ARGUMENT, SessionRequest};

/// Refuses what cannot be set up; answers the agent's working directory below `base`.
pub(crate) fn check(request: &SessionRequest, variables: &Variables, base: PathBuf) -> Result<PathBuf, RuntimeError> {
    let invalid = |field, value, hint: &str| {
        let hint = hint.to_owned();
        Err(RuntimeError::InvalidField { field, value, hint })
    };
    for (command, number) in request.setup.iter().zip(1_usize..) {
        if command.trim().is_empty() || command.contains('\0') || command.len() > MAX_ARGUMENT {
            let hint = format!("a command is not empty, has no NUL and at most {MAX_ARGUMENT} bytes");
            return invalid("setup", format!("wrong in its command {number}"), &hint);
        }
    }
    let Some(repo) = &request.repo else { return Ok(base) };
    let wrong = |wrong: promptd_model::InvalidRepo| RuntimeError::InvalidField {
        field: wrong.field,
        value: wrong.value,
        hint: wrong.hint.into_owned(),
    };
    repo.check().map_err(wrong)?;
    let directory = repo.directory().map_err(wrong)?;
    if let Some(variable) = &repo.token_env {
        let hint = match variables.repository_token(request) {
            None => Some(
                "there is no such variable in env, in what was configured, nor in the server's environment; add it to env",
            ),
            // A line break would end the line in which git takes a password.
            Some(token) if token.is_empty() || token.contains(char::is_control) => {
                Some("its value is empty or has more than one line; a token is one line")
            }
            Some(_) => None,
        };
        if let Some(hint) = hint {
            return invalid("repo.token_env", format!("{variable:?}"), hint);
        }
    }
    if find("git", request).is_none() {
        return Err(RuntimeError::NotInstalled {
            field: "repo",
            program: "git",
            install: "apt-get install git",
        });
    }
    // An empty path would only add a slash.
    Ok(if directory.as_os_str().is_empty() {
        base
    } else {
        base.join(directory)
    })
}

/// What has to be done before the agent starts; nothing once an agent of the session has.
pub(crate) fn preparation(session: &Session) -> Option<SetupSpec> {
    let request = session.request();
    let nothing = request.repo.is_none() && request.setup.is_empty();
    if nothing || session.state().first_start.is_some() {
        return None;
    }
    let directory = request
        .repo
        .as_ref()
        .and_then(|repo| repo.directory().ok())
        .unwrap_or_default();
    let base = session.cwd().ancestors().nth(directory.components().count());
    let shell = find("bash", request).or_else(|| find("sh", request));
    Some(SetupSpec {
        repo: request.repo.clone(),
        base: base.unwrap_or(session.cwd()).to_owned(),
        commands: request.setup.clone(),
        shell: shell.unwrap_or_else(|| PathBuf::from("/bin/sh")),
    })
}

fn find(program: &str, request: &SessionRequest) -> Option<PathBuf> {
    which::which_in(program, Some(search_path(request)), Path::new("/")).ok()
}
