//! Changes in a git repository: the working directory compared with a commit.
//!
//! A repository can name programs: filters, drivers, hooks, a monitor, ssh. Git would run them here, outside of the turn's
//! process tree and its limits. All of them are named in configuration. So git gets a git folder of ours, with the
//! repository's objects, a copy of its index, and none of its configuration but a few harmless values (see `isolated`).
//!
//! `git diff <commit>` does not show untracked files. So git gets a copy of the index (whose file times save it from reading
//! all files), to which untracked files are added as empty files: then their content is a difference.

mod changes;
mod isolated;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::change::{Baseline, Change, ChangeStatus, MAX_FILES, size};
use crate::child::{end_leftovers, run};
use crate::error::{ArtifactError, io_error, yes_or_no};
use changes::{ChangeParser, NulFields};
use isolated::Isolated;
use promptd_sys::TemporaryFolder;

/// The id of the empty file in repositories with SHA-1 and with SHA-256.
const EMPTY_SHA1: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
const EMPTY_SHA256: &str = "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813";

/// Settings that the repository's configuration may not change: the format, and which programs run.
const SETTINGS: [&str; 9] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.quotePath=true",
    "core.pager=cat",
    "color.ui=false",
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.relative=false",
];

/// Options of `git diff` for the same purpose.
const PLAIN: [&str; 12] = [
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--find-renames",
    "--relative",
    // Otherwise git would run in a submodule with the submodule's configuration.
    "--ignore-submodules=dirty",
    "--submodule=short",
    "--diff-algorithm=default",
    // `git apply` needs context lines, and removes one folder from each path.
    "--unified=3",
    "--inter-hunk-context=0",
    "--src-prefix=a/",
    "--dst-prefix=b/",
];

/// A repository with its own index.
#[derive(Debug)]
pub(super) struct Repository {
    cwd: PathBuf,
    base: String,
    isolated: Isolated,
    scratch: TemporaryFolder,
    truncated: bool,
}

impl Repository {
    /// Opens the repository of the session; `None` if there is none, or if its commit is not known any more.
    pub(super) fn open(baseline: &Baseline) -> Result<Option<Self>, ArtifactError> {
        let Some(base) = baseline.commit.clone().filter(|_| baseline.cwd.is_dir()) else {
            return Ok(None);
        };
        let scratch = TemporaryFolder::create(baseline.scratch.clone()).map_err(io_error(&baseline.scratch))?;
        let Some(isolated) = Isolated::prepare(&baseline.cwd, &scratch, base.len() > EMPTY_SHA1.len())? else {
            return Ok(None);
        };
        let mut repository = Self {
            cwd: baseline.cwd.clone(),
            base,
            isolated,
            scratch,
            truncated: false,
        };
        let commit = format!("{}^{{commit}}", repository.base);
        // The agent may have replaced the repository.
        if yes_or_no(repository.query(&["cat-file", "-e", &commit]))?.is_none() {
            return Ok(None);
        }
        // A folder that is ignored by a surrounding repository does not belong to that repository.
        if yes_or_no(repository.query(&["check-ignore", "--quiet", "."]))?.is_some() {
            return Ok(None);
        }
        repository.prepare_index()?;
        Ok(Some(repository))
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    fn git(&self, args: &[&str]) -> Command {
        let mut command = self.isolated.command(&self.cwd);
        command.env("GIT_INDEX_FILE", self.index());
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.args(args);
        command
    }

    fn run(
        &self,
        command: Command,
        write: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        run(command, &isolated::marker(&self.scratch), write)
    }

    fn query(&self, args: &[&str]) -> Result<Vec<u8>, ArtifactError> {
        let mut answer = Vec::new();
        self.run(self.git(args), &mut |bytes| {
            answer.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(answer)
    }

    fn index(&self) -> PathBuf {
        self.scratch.join("index")
    }

    fn prepare_index(&mut self) -> Result<(), ArtifactError> {
        let theirs = self.isolated.index();
        match copy_with_time(&theirs, &self.index()) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(&theirs)(error)),
        }
        let prefix = self.query(&["rev-parse", "--show-prefix"])?;
        let prefix = prefix.strip_suffix(b"\n").unwrap_or(&prefix).to_vec();
        let empty = if self.base.len() > EMPTY_SHA1.len() {
            EMPTY_SHA256
        } else {
            EMPTY_SHA1
        };
        let list = self.scratch.join("untracked");
        let mut entries = Vec::new();
        let mut fields = NulFields::default();
        let mut count = 0_usize;
        let untracked = self.git(&["ls-files", "--others", "--exclude-standard", "-z"]);
        self.run(untracked, &mut |bytes| {
            fields.push(bytes, |path| {
                // A nested repository is not a file of this one.
                if path.ends_with(b"/") || path.is_empty() {
                    return;
                }
                count = count.saturating_add(1);
                if count <= MAX_FILES {
                    entries.extend_from_slice(format!("100644 {empty} 0\t").as_bytes());
                    entries.extend_from_slice(&prefix);
                    entries.extend_from_slice(&path);
                    entries.push(0);
                }
            });
            Ok(())
        })?;
        self.truncated = count > MAX_FILES;
        if entries.is_empty() {
            return Ok(());
        }
        let written = File::create(&list).and_then(|mut file| file.write_all(&entries));
        written.map_err(io_error(&list))?;
        let mut add = self.git(&["update-index", "--add", "--replace", "-z", "--index-info"]);
        add.stdin(File::open(&list).map_err(io_error(&list))?);
        self.run(add, &mut |_| Ok(()))
    }

    fn diff(&self, more: &[&str]) -> Command {
        let mut command = self.git(&["diff"]);
        command.args(PLAIN).args(more).arg(&self.base).arg("--");
        command
    }

    /// The changed files, and whether there are more.
    pub(super) fn changes(&self) -> Result<(Vec<Change>, bool), ArtifactError> {
        let mut parser = ChangeParser::default();
        self.run(self.diff(&["--name-status", "-z"]), &mut |bytes| {
            parser.push(bytes);
            Ok(())
        })?;
        let (mut changes, truncated) = parser.into_changes();
        let existing = changes
            .iter_mut()
            .filter(|change| change.status != ChangeStatus::Deleted);
        for change in existing {
            change.size = size(&self.cwd.join(&change.path));
        }
        Ok((changes, self.truncated || truncated))
    }

    pub(super) fn patch(
        &self,
        applicable: bool,
        write: &mut dyn FnMut(&[u8]) -> Result<(), ArtifactError>,
    ) -> Result<(), ArtifactError> {
        let more: &[&str] = if applicable { &["--binary", "--full-index"] } else { &[] };
        self.run(self.diff(more), write)
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        end_leftovers(&isolated::marker(&self.scratch));
    }
}

/// Copies the index with its modification time: git reads each file again that is not older than the index, because it may
/// have been changed within the same second (git's `Documentation/technical/racy-git.txt`). With a newer time git would miss
/// such a change.
fn copy_with_time(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut original = promptd_sys::open_regular(from)?;
    let written = original.metadata()?.modified()?;
    let mut copy = File::create(to)?;
    std::io::copy(&mut original, &mut copy)?;
    copy.set_modified(written)
}
