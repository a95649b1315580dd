//! Where an agent works.

use std::path::{Component, Path, PathBuf};

use crate::runtime::error::RuntimeError;
use crate::runtime::settings::Settings;
use promptd_model::{CallerPath, SessionRequest};

/// What is wrong with a `~` that is nowhere.
const NO_HOME: &str = "the agent has no HOME with an absolute path; write the path itself";

/// The working directory: relative to the workspace and inside it; absolute wherever there is such a folder; `own_folder`
/// for a session that wants one.
pub(crate) fn working_directory(
    settings: &Settings,
    request: &SessionRequest,
    own_folder: &Path,
    home: Option<&Path>,
) -> Result<PathBuf, RuntimeError> {
    let Some(cwd) = &request.cwd else {
        return Ok(settings.workspace.clone());
    };
    if request.wants_own_folder() {
        return Ok(own_folder.to_owned());
    }
    let invalid = |hint: String| RuntimeError::InvalidField {
        field: "cwd",
        value: format!("{cwd:?}"),
        hint,
    };
    let path = CallerPath::parse(cwd)
        .map_err(invalid)?
        .resolve(|| home.map(Path::to_owned));
    let path = path.ok_or_else(|| invalid(NO_HOME.to_owned()))?;
    if path.is_absolute() {
        return if path.is_dir() {
            Ok(path)
        } else {
            let hint = format!(
                "there is no folder {}; make it, or use a path relative to the workspace",
                path.display()
            );
            Err(invalid(hint))
        };
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(invalid("it leaves the workspace; use a path below it".to_owned()));
    }
    let path = settings.workspace.join(path);
    // A folder that is not there yet is made when the first turn starts.
    if path.exists() && !path.is_dir() {
        return Err(invalid(
            "it is there and is no folder; use the path of a folder".to_owned(),
        ));
    }
    Ok(path)
}
