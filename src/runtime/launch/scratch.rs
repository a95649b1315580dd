//! Folders that hold nothing of an earlier turn.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes a folder, or empties the one that is there. Anything else in its place, such as a link, is removed.
pub(crate) fn empty_folder(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => fs::remove_file(path)?,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_empty_whatever_was_there_and_no_link_is_followed() {
        let root = std::env::temp_dir().join(format!("promptd-folders-{}", std::process::id()));
        fs::create_dir_all(root.join("elsewhere")).unwrap();
        fs::write(root.join("elsewhere/kept"), "x").unwrap();
        let folder = root.join("folder");
        let is_empty = || fs::read_dir(&folder).unwrap().next().is_none() && !folder.is_symlink();
        empty_folder(&folder).unwrap();
        fs::write(folder.join("left"), "x").unwrap();
        empty_folder(&folder).unwrap();
        assert!(is_empty());
        fs::remove_dir(&folder).unwrap();
        std::os::unix::fs::symlink(root.join("elsewhere"), &folder).unwrap();
        empty_folder(&folder).unwrap();
        assert!(is_empty() && root.join("elsewhere/kept").exists());
        fs::remove_dir(&folder).unwrap();
        fs::write(&folder, "x").unwrap();
        empty_folder(&folder).unwrap();
        assert!(is_empty());
        fs::remove_dir_all(root).unwrap();
    }
}
