//! What a working directory was when an agent began: the moment, and the commit that was checked out.
//!
//! Read by hand: a process for it would cost every turn more than all the rest of its start.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// More than any of git's own small files has.
const LONGEST: u64 = 64 << 10;

/// Packed references can be many; a repository with more is told of without its commit.
const LONGEST_PACKED: u64 = 64 << 20;

/// References that point to references; git itself stops at five.
const DEPTH: u32 = 5;

/// The beginning of an agent's work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) begun: Option<Timestamp>,
    pub(super) commit: Option<String>,
}

impl Origin {
    /// Now, in this folder.
    pub(super) fn of(folder: &Path) -> Self {
        let commit = commit(folder);
        // The clock of file times, which is a few milliseconds behind the exact one: no change is older than this.
        let begun = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).ok().and_then(|now| {
            let nanoseconds = i32::try_from(now.tv_nsec()).ok()?;
            Timestamp::new(now.tv_sec(), nanoseconds).ok()
        });
        Self { begun, commit }
    }
}

/// The commit that is checked out in the repository that `folder` lies in.
fn commit(folder: &Path) -> Option<String> {
    let git = folder.ancestors().find_map(|folder| git_dir(&folder.join(".git")))?;
    let common = read(&git.join("commondir"), LONGEST).map_or_else(|| git.clone(), |path| git.join(path.trim_end()));
    let mut name = "HEAD".to_owned();
    for _ in 0..DEPTH {
        let loose = [&git, &common]
            .into_iter()
            .find_map(|folder| read(&folder.join(&name), LONGEST));
        let Some(text) = loose else {
            return packed(&read(&common.join("packed-refs"), LONGEST_PACKED)?, &name);
        };
        let Some(target) = text.trim_end().strip_prefix("ref: ") else {
            return id(text.trim_end());
        };
        name = inside(target)?.to_owned();
    }
    None
}

/// The folder behind a `.git`: itself, or where the file says.
fn git_dir(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return path.join("HEAD").exists().then(|| path.to_owned());
    }
    let text = read(path, LONGEST)?;
    Some(path.parent()?.join(text.trim_end().strip_prefix("gitdir: ")?))
}

/// A reference lies below its folder, whatever a file says.
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
    // Only files: whoever puts a FIFO there does not get us to wait.
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > most {
        return None;
    }
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789012345678901234567890123456789";
    const B: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcd";

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("promptd-origin-{name}-{}", std::process::id()));
        let _old = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("repo/.git/refs/heads")).unwrap();
        fs::create_dir_all(path.join("repo/src/deep")).unwrap();
        path
    }

    #[test]
    fn a_commit_is_found_however_git_keeps_it() {
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
        // A linked worktree: its HEAD is its own, the branches are shared.
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
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_head_that_points_elsewhere_is_not_followed() {
        let root = folder("elsewhere");
        let git = root.join("repo/.git");
        fs::write(root.join("secret"), A).unwrap();
        for head in ["ref: ../../secret", "ref: /etc/passwd", "ref: HEAD", "nonsense", ""] {
            fs::write(git.join("HEAD"), head).unwrap();
            assert_eq!(commit(&root.join("repo")), None, "{head}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
