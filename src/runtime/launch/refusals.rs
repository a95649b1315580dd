//! Why an agent would start and yet not do what was asked for.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::runtime::error::RuntimeError;
use promptd_agents::{Agent, Launch, Unsupported};

/// Some agents do not trust a file below a folder that others may write to, and go on without it.
pub(crate) fn refuse_open_folder(agent: &Agent, launch: &Launch, folder: &Path) -> Result<(), RuntimeError> {
    let Some(field) = launch.needs_private_folders else {
        return Ok(());
    };
    let is_open = |folder: &&Path| fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o022 != 0);
    folder.ancestors().find(is_open).map_or(Ok(()), |open| {
        let hint = format!(
            "it takes no settings from below {}, which others may write to; start promptd with a --home elsewhere",
            open.display()
        );
        Err(unsupported(Unsupported {
            agent: agent.name().to_owned(),
            field,
            hint,
        }))
    })
}

/// Some agents begin anew under the same id when they do not find what they kept of a session, and say nothing.
pub(crate) fn refuse_lost_session(
    agent: &Agent,
    launch: &Launch,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), RuntimeError> {
    let kept = launch.session_file.as_ref();
    let Some((kept, home)) = kept.and_then(|kept| Some((kept, kept.home.iter().find_map(|name| variable(name))?)))
    else {
        return Ok(());
    };
    let folder = Path::new(&home).join(kept.folder);
    let mut folders = fs::read_dir(&folder).into_iter().flatten().flatten();
    if folders.any(|folder| folder.path().join(&kept.file).exists()) {
        return Ok(());
    }
    Err(RuntimeError::SessionLost {
        agent: agent.name().to_owned(),
        path: folder.join("*").join(&kept.file),
    })
}

pub(crate) fn unsupported(error: Unsupported) -> RuntimeError {
    RuntimeError::Unsupported {
        agent: error.agent,
        field: error.field.to_owned(),
        hint: error.hint,
        able: Vec::new(),
    }
}
