//! The working directories of sessions with `"cwd": "new"`.
//!
//! Promises that a session gets a folder that was not there before, so that no two sessions get the same one. The folder
//! belongs to the caller: it stays when the session is deleted.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::runtime::error::RuntimeError;
use promptd_model::SessionId;

/// Chooses a path that nothing has: made from the id, with a number if a former session with this id has left its folder.
pub(crate) fn choose(workspace: &Path, id: &SessionId) -> PathBuf {
    // The prefix, because an id can be a name that has a meaning, such as `node_modules`. A colon would end the path in
    // variables such as PYTHONPATH.
    let name = format!("session-{}", id.as_str().replace(':', "_"));
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut paths = std::iter::once(name.clone())
        .chain(numbered)
        .map(|name| workspace.join(name));
    paths.find(|path| path.symlink_metadata().is_err()).unwrap_or_default()
}

/// Makes the folder; false if something has its name.
pub(crate) fn make(folder: &Path) -> Result<bool, RuntimeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RuntimeError::Io { path, source }
    };
    if let Some(workspace) = folder.parent() {
        fs::create_dir_all(workspace).map_err(failed(workspace))?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        made => made.map_err(failed(folder)).map(|()| true),
    }
}

/// Removes the folder of a session that could not be created.
pub(crate) fn discard(folder: &Path) {
    // It is empty; if it cannot be removed, it is in nobody's way.
    let _removed = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_sys::TemporaryFolder;

    #[test]
    fn a_folder_is_made_for_one_session_only() {
        let root = TemporaryFolder::new("own-folder").unwrap();
        let workspace = root.join("workspace");
        let choose = || choose(&workspace, &"a:b".parse().unwrap());
        assert_eq!(choose(), workspace.join("session-a_b"));
        assert!(make(&choose()).unwrap());
        assert!(!make(&workspace.join("session-a_b")).unwrap());
        assert_eq!(choose(), workspace.join("session-a_b-2"));
        std::os::unix::fs::symlink("nowhere", choose()).unwrap();
        assert_eq!(choose(), workspace.join("session-a_b-3"));
    }
}
