//! A git folder of ours for somebody else's repository: with its objects, and without its configuration.
//!
//! The repository's own configuration is read only by `git rev-parse` and `git config`, which run no program that it names.
//! What the working directory's `.gitattributes` names has no meaning without configuration. So content that a filter
//! would convert, such as that of LFS, is compared as it is in the folder.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::child::run;
use crate::error::{ArtifactError, io_error, yes_or_no};
use promptd_sys as sys;

/// Values of the repository's configuration that change what differs. None of them can name a program.
const VALUES: &str = "^core\\.(autocrlf|eol|filemode|symlinks|ignorecase|precomposeunicode|sparsecheckout|sparsecheckoutcone|excludesfile|attributesfile)$";

/// Files of the git folder that say what is ignored, what is binary, and what is checked out.
const INFO: [&str; 3] = ["exclude", "attributes", "sparse-checkout"];

/// The largest of these files.
const MAX_INFO: u64 = 16 << 20;

/// The git folder of ours, and what it stands for.
#[derive(Debug)]
pub(super) struct Isolated {
    git_dir: PathBuf,
    /// The repository's own git folder.
    theirs: PathBuf,
    objects: PathBuf,
    work_tree: PathBuf,
    home: PathBuf,
    /// `key=value`, from the repository's configuration.
    values: Vec<Vec<u8>>,
}

impl Isolated {
    /// Makes the folder in `scratch`; `None` where `cwd` is in no repository.
    pub(super) fn prepare(cwd: &Path, scratch: &Path, is_sha256: bool) -> Result<Option<Self>, ArtifactError> {
        let ask = |args: &[&str]| query(cwd, scratch, args);
        let path = |args: &[&str]| ask(args).map(|answer| path_of(answer.strip_suffix(b"\n").unwrap_or(&answer)));
        let theirs = match path(&["rev-parse", "--absolute-git-dir"]) {
            // Without git, changes are found by the times of files.
            Err(ArtifactError::NotStarted(error)) if error.kind() == ErrorKind::NotFound => return Ok(None),
            theirs => yes_or_no(theirs)?,
        };
        let (Some(theirs), Some(work_tree)) = (theirs, yes_or_no(path(&["rev-parse", "--show-toplevel"]))?) else {
            return Ok(None);
        };
        // A linked worktree shares the objects of another git folder.
        let common = sys::read_regular(&theirs.join("commondir"), MAX_INFO);
        let common = common.map_or_else(|_| theirs.clone(), |text| theirs.join(path_of(text.trim_ascii_end())));
        let isolated = Self {
            git_dir: scratch.join("git"),
            objects: common.join("objects"),
            home: scratch.to_owned(),
            // It fails where there is no such value.
            values: values(
                &yes_or_no(ask(&["config", "--null", "--get-regexp", VALUES]))?.unwrap_or_default(),
                std::env::var_os("HOME").as_deref(),
            ),
            theirs,
            work_tree,
        };
        isolated.write(&common, is_sha256).map_err(io_error(scratch))?;
        Ok(Some(isolated))
    }

    fn write(&self, common: &Path, is_sha256: bool) -> io::Result<()> {
        fs::create_dir_all(self.git_dir.join("refs"))?;
        let info = self.git_dir.join("info");
        fs::create_dir_all(&info)?;
        fs::write(self.git_dir.join("HEAD"), "ref: refs/heads/none\n")?;
        let format = if is_sha256 {
            "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectFormat = sha256\n"
        } else {
            "[core]\nrepositoryformatversion = 0\n"
        };
        fs::write(self.git_dir.join("config"), format)?;
        for name in INFO {
            let folder = [&self.theirs, common].map(|folder| folder.join("info").join(name));
            let text = folder.iter().find_map(|path| sys::read_regular(path, MAX_INFO).ok());
            if let Some(text) = text {
                fs::write(info.join(name), text)?;
            }
        }
        self.copy_shared_indexes()
    }

    /// A split index refers to files beside it.
    fn copy_shared_indexes(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.theirs)?.flatten() {
            let name = entry.file_name();
            if !name.as_bytes().starts_with(b"sharedindex.") {
                continue;
            }
            match sys::open_regular(&entry.path()) {
                Ok(mut shared) => {
                    let mut copy = File::create(self.git_dir.join(&name))?;
                    io::copy(&mut shared, &mut copy)?;
                    copy.flush()?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The repository's own index.
    pub(super) fn index(&self) -> PathBuf {
        self.theirs.join("index")
    }

    /// A git command with our git folder.
    pub(super) fn command(&self, cwd: &Path) -> Command {
        let mut command = git(cwd);
        command
            .env("HOME", &self.home)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_DIR", &self.git_dir)
            .env("GIT_WORK_TREE", &self.work_tree)
            .env("GIT_OBJECT_DIRECTORY", &self.objects);
        // The user's own list of ignored files, which git would find by HOME.
        for (name, file) in [("core.excludesFile", "ignore"), ("core.attributesFile", "attributes")] {
            if let Some(file) = user_file(file) {
                command
                    .arg("-c")
                    .arg(setting(name.as_bytes(), file.as_os_str().as_bytes()));
            }
        }
        for value in &self.values {
            command.arg("-c").arg(path_of(value));
        }
        command
    }
}

/// The value that marks the processes of one comparison.
pub(super) fn marker(scratch: &Path) -> String {
    scratch.display().to_string()
}

/// Asks the repository itself, with its own configuration.
fn query(cwd: &Path, scratch: &Path, args: &[&str]) -> Result<Vec<u8>, ArtifactError> {
    let mut command = git(cwd);
    command.envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
    command
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(args);
    let mut answer = Vec::new();
    run(command, &marker(scratch), &mut |bytes| {
        answer.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(answer)
}

fn git(cwd: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().stdin(Stdio::null());
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // No locks, no prompts, and no fetching of missing objects.
    for (name, value) in [
        ("LC_ALL", "C"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_ALLOW_PROTOCOL", "none"),
    ] {
        command.env(name, value);
    }
    // Not `current_dir`, which would need a fork instead of `posix_spawn`.
    command.arg("-C").arg(cwd);
    command
}

/// A file in the user's folder for git.
fn user_file(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from);
    let folder = folder.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".config")))?;
    Some(folder.join("git").join(name)).filter(|file| file.is_file())
}

/// Parses `key`, a newline, `value` and NUL, again and again. A value below `~` is meant below `home`.
fn values(answer: &[u8], home: Option<&OsStr>) -> Vec<Vec<u8>> {
    let entries = answer.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| match split_at_newline(entry) {
            Some((name, value)) => match (value.strip_prefix(b"~/"), home) {
                (Some(rest), Some(home)) => setting(name, &[home.as_bytes(), b"/", rest].concat()),
                _ => setting(name, value),
            }
            .into_encoded_bytes(),
            // A key alone means true, also on the command line.
            None => entry.to_vec(),
        })
        .collect()
}

fn split_at_newline(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = entry.iter().position(|byte| *byte == b'\n')?;
    Some((entry.get(..at)?, entry.get(at.saturating_add(1)..)?))
}

fn setting(name: &[u8], value: &[u8]) -> OsString {
    path_of(&[name, b"=", value].concat()).into_os_string()
}

fn path_of(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_form_are_passed_on() {
        let answer = b"core.autocrlf\ninput\0core.symlinks\0core.excludesfile\n/a\nb=c\0core.attributesfile\n~/a\0";
        let expected = [
            "core.autocrlf=input",
            "core.symlinks",
            "core.excludesfile=/a\nb=c",
            "core.attributesfile=/home/me/a",
        ];
        let home = Some(OsStr::new("/home/me"));
        assert_eq!(values(answer, home), expected.map(|text| text.as_bytes().to_vec()));
        assert!(values(b"", home).is_empty());
    }
}
