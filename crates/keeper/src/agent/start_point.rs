//! When and where an agent started: the time, and the commit that was checked out.
//!
//! The commit is read from git's files: a git process would take longer than the rest of a turn's start.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use promptd_sys as sys;

/// Maximum size of git's small files.
const MAX_FILE: u64 = 64 << 10;

/// Maximum size of `packed-refs`. For a larger one the commit is not recorded.
const MAX_PACKED_REFS: u64 = 64 << 20;

/// Maximum number of symbolic references to follow; git also stops at five.
const MAX_DEPTH: u32 = 5;

/// When and where an agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartPoint {
    pub(crate) begun: Option<Timestamp>,
    pub(crate) commit: Option<String>,
}

impl StartPoint {
    /// The start point of an agent that starts now in this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        let commit = commit(folder);
        // The coarse clock gives the times of files: no later change has an earlier time.
        let begun = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).ok().and_then(|now| {
            let nanoseconds = i32::try_from(now.tv_nsec()).ok()?;
            Timestamp::new(now.tv_sec(), nanoseconds).ok()
        });
        Self { begun, commit }
    }
}

/// The commit that is checked out in the repository that contains `folder`.
fn commit(folder: &Path) -> Option<String> {
    let git = folder.ancestors().find_map(|folder| git_dir(&folder.join(".git")))?;
    let common = read(&git.join("commondir"), MAX_FILE).map_or_else(|| git.clone(), |path| git.join(path.trim_end()));
    let mut name = "HEAD".to_owned();
    for _ in 0..MAX_DEPTH {
        let loose = [&git, &common]
            .into_iter()
            .find_map(|folder| read(&folder.join(&name), MAX_FILE));
        let Some(text) = loose else {
            return packed(&read(&common.join("packed-refs"), MAX_PACKED_REFS)?, &name);
        };
        let Some(target) = text.trim_end().strip_prefix("ref: ") else {
            return id(text.trim_end());
        };
        name = inside(target)?.to_owned();
    }
    None
}

/// The git folder for a `.git`: the folder itself, or the one that a `.git` file names.
fn git_dir(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return path.join("HEAD").exists().then(|| path.to_owned());
    }
    let text = read(path, MAX_FILE)?;
    Some(path.parent()?.join(text.trim_end().strip_prefix("gitdir: ")?))
}

/// Refuses the name of a reference outside of the git folder.
fn inside(name: &str) -> Option<&str> {
    (!name.starts_with('/') && !name.split('/').any(|part| part == "..")).then_some(name)
}

fn packed(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(_, known)| *known == name)
        .and_then(|(commit, _)| id(commit))
}

fn id(text: &str) -> Option<String> {
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && [40, 64].contains(&text.len())).then(|| text.to_owned())
}

fn read(path: &Path, most: u64) -> Option<String> {
    String::from_utf8(sys::read_regular(path, most).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use promptd_sys::TemporaryFolder;

    const A: &str = "0123456789012345678901234567890123456789";
    const B: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcd";

    fn folder(name: &str) -> TemporaryFolder {
        let folder = TemporaryFolder::new(name).unwrap();
        fs::create_dir_all(folder.join("repo/.git/refs/heads")).unwrap();
        fs::create_dir_all(folder.join("repo/src/deep")).unwrap();
        folder
    }

    #[test]
    fn commit_is_found_in_every_storage_of_git() {
        let root = folder("kept");
        let (repo, git) = (root.join("repo"), root.join("repo/.git"));
        assert_eq!(commit(&repo), None);
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(commit(&repo), None, "no commit yet");
        fs::write(
            git.join("packed-refs"),
            format!("# pack-refs with: peeled\n{B} refs/heads/main\n^{A}\n"),
        )
        .unwrap();
        assert_eq!(commit(&repo.join("src/deep")).as_deref(), Some(B));
        fs::write(git.join("refs/heads/main"), format!("{A}\n")).unwrap();
        assert_eq!(commit(&repo).as_deref(), Some(A));
        fs::write(git.join("HEAD"), format!("{B}\n")).unwrap();
        assert_eq!(commit(&repo).as_deref(), Some(B));
        // A linked worktree has its own HEAD and shares the branches.
        fs::create_dir_all(git.join("worktrees/w")).unwrap();
        fs::write(git.join("worktrees/w/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(git.join("worktrees/w/commondir"), "../..\n").unwrap();
        fs::create_dir_all(root.join("w")).unwrap();
        fs::write(
            root.join("w/.git"),
            format!("gitdir: {}\n", git.join("worktrees/w").display()),
        )
        .unwrap();
        assert_eq!(commit(&root.join("w")).as_deref(), Some(A));
    }

    #[test]
    fn head_that_points_outside_is_not_followed() {
        let root = folder("elsewhere");
        let git = root.join("repo/.git");
        fs::write(root.join("secret"), A).unwrap();
        for head in ["ref: ../../secret", "ref: /etc/passwd", "ref: HEAD", "nonsense", ""] {
            fs::write(git.join("HEAD"), head).unwrap();
            assert_eq!(commit(&root.join("repo")), None, "{head}");
        }
    }
}
