//! The progress of a setup: written by the setup process, copied into the journal by the keeper.
//!
//! The format of the file is described in the parent module.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::agent::StartPoint;
use promptd_model::{Body, Cause, Exited, Setup, Started, TurnState, len64};
use promptd_sys as sys;

/// Maximum bytes of a line; commands are shortened to less.
const MAX_LINE: usize = 64 << 10;

/// A line of the progress file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProgressEntry {
    /// A step starts.
    Step {
        step: u32,
        of: u32,
        command: String,
        sizes: [u64; 2],
    },
    /// The setup is complete, and the process becomes the agent.
    Agent {
        program: String,
        origin: StartPoint,
        sizes: [u64; 2],
    },
    /// The agent will not start.
    Failed { cause: Cause, error: String },
}

impl ProgressEntry {
    /// The sizes of the output files before this event.
    fn sizes(&self) -> Option<[u64; 2]> {
        match self {
            Self::Step { sizes, .. } | Self::Agent { sizes, .. } => Some(*sizes),
            Self::Failed { .. } => None,
        }
    }

    /// The record of this event; `process` makes the record of the process's start.
    pub(crate) fn into_record(self, process: impl FnOnce(String, StartPoint) -> Started) -> Option<Body> {
        match self {
            Self::Step { step, of, command, .. } => {
                let process = process(String::new(), StartPoint::default());
                Some(Body::Setup(Setup {
                    step,
                    of,
                    command,
                    attempt: process.attempt,
                    pid: process.pid,
                    start_ticks: process.start_ticks,
                    boot_id: process.boot_id,
                }))
            }
            Self::Agent { program, origin, .. } => Some(Body::Started(process(program, origin))),
            Self::Failed { .. } => None,
        }
    }
}

/// Creates the progress file, empty.
pub(crate) fn create_file(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    sys::open_own(path, &mut options).map(drop)
}

/// Appends a line with a single write.
pub(super) fn append_entry(path: &Path, entry: &ProgressEntry) -> io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    sys::open_own(path, File::options().append(true))?.write_all(&line)
}

/// The keeper's view of the progress file.
#[derive(Debug, Default)]
pub(crate) struct SetupProgress {
    /// `None` if the turn has no setup.
    file: Option<File>,
    position: u64,
    /// Entries that are not in the journal yet.
    pending: VecDeque<ProgressEntry>,
    /// The command of the last step that started.
    last_command: Option<String>,
    /// The agent has started, or there is no setup.
    complete: bool,
    failure: Option<(Cause, String)>,
}

impl SetupProgress {
    /// Opens the progress file, if there is one. `turn` is the state of this attempt according to the journal.
    pub(crate) fn open(path: &Path, turn: Option<&TurnState>) -> Self {
        let Ok(file) = sys::open_own(path, File::options().read(true)) else {
            return Self {
                complete: true,
                ..Self::default()
            };
        };
        let mut progress = Self {
            file: Some(file),
            ..Self::default()
        };
        progress.read();
        match turn.map(|turn| turn.setup) {
            // Nothing of this attempt is in the journal.
            None => {}
            Some(Some(recorded)) => progress
                .pending
                .retain(|entry| !matches!(entry, ProgressEntry::Step { step, .. } if *step <= recorded)),
            Some(None) => {
                progress.pending.clear();
                progress.complete = true;
            }
        }
        progress
    }

    /// Reads new entries from the file.
    pub(crate) fn read(&mut self) {
        let Some(file) = self.file.as_ref() else { return };
        let mut block = vec![0; MAX_LINE];
        while let Ok(read) = file.read_at(&mut block, self.position) {
            let bytes = block.get(..read).unwrap_or_default();
            let Some(end) = memchr::memrchr(b'\n', bytes) else {
                return;
            };
            for line in bytes.get(..end).unwrap_or_default().split(|byte| *byte == b'\n') {
                match serde_json::from_slice(line) {
                    Ok(ProgressEntry::Failed { cause, error }) => self.failure = Some((cause, error)),
                    Ok(entry) => {
                        if let ProgressEntry::Step { command, .. } = &entry {
                            self.last_command = Some(command.clone());
                        }
                        self.pending.push_back(entry);
                    }
                    // Only the setup process writes here; a line from anybody else is ignored.
                    Err(_) => {}
                }
            }
            self.position = self
                .position
                .saturating_add(len64(bytes.get(..=end).unwrap_or_default()));
        }
    }

    /// Whether all entries are in the journal.
    pub(crate) fn is_recorded(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the agent has started, and the journal says so.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Truncates bytes that were read from a stream at `position` to those before the next step; true if they end
    /// exactly there.
    pub(crate) fn truncate_to_step(&mut self, stream: usize, position: u64, bytes: &mut Vec<u8>) -> bool {
        if self.complete {
            return false;
        }
        // Read after the bytes, so an entry that precedes some of them is known.
        self.read();
        let end = self.pending.front().and_then(ProgressEntry::sizes);
        let Some(end) = end.and_then(|sizes| sizes.get(stream).copied()) else {
            return false;
        };
        let left = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        bytes.truncate(left);
        bytes.len() == left
    }

    /// Takes the next entry if all output before it is in the journal.
    pub(crate) fn take_next(&mut self, is_reached: impl Fn([u64; 2]) -> bool) -> Option<ProgressEntry> {
        if !self.pending.front()?.sizes().is_none_or(is_reached) {
            return None;
        }
        let entry = self.pending.pop_front()?;
        self.complete |= matches!(entry, ProgressEntry::Agent { .. });
        Some(entry)
    }

    /// Adds to the record of an exit what the setup knows about its reason.
    pub(crate) fn explain_exit(&mut self, exited: &mut Exited) {
        self.read();
        let agent_started = |entry: &ProgressEntry| matches!(entry, ProgressEntry::Agent { .. });
        let agent_started = self.complete || self.pending.iter().any(agent_started);
        let unknown = matches!(exited.cause, None | Some(Cause::KeeperLost));
        if let Some((cause, error)) = self.failure.take().filter(|_| unknown) {
            (exited.cause, exited.error) = (Some(cause), Some(error));
        } else if !agent_started && exited.cause.is_none() {
            let reason = exited.signal.as_deref().unwrap_or("an unexpected exit");
            let command = self.last_command.as_deref().unwrap_or("it began");
            exited.cause = Some(Cause::SetupFailed);
            exited.error = Some(format!("the setup was ended by {reason} while {command:?} ran"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_sys::TemporaryFolder;
    use std::path::PathBuf;

    fn step(step: u32, sizes: [u64; 2]) -> ProgressEntry {
        let command = format!("step {step}");
        ProgressEntry::Step {
            step,
            of: 2,
            command,
            sizes,
        }
    }

    fn agent(sizes: [u64; 2]) -> ProgressEntry {
        ProgressEntry::Agent {
            program: "/bin/a".to_owned(),
            origin: StartPoint::default(),
            sizes,
        }
    }

    fn file(name: &str) -> (TemporaryFolder, PathBuf) {
        let folder = TemporaryFolder::new(name).unwrap();
        let path = folder.join("progress");
        create_file(&path).unwrap();
        (folder, path)
    }

    #[test]
    fn output_is_cut_where_the_next_step_begins() {
        let (_folder, path) = file("cut");
        let mut progress = SetupProgress::open(&path, None);
        append_entry(&path, &step(1, [10, 10])).unwrap();
        let mut bytes = Vec::new();
        assert!(progress.truncate_to_step(0, 10, &mut bytes));
        assert_eq!(progress.take_next(|sizes| sizes == [10, 10]), Some(step(1, [10, 10])));
        bytes = b"first".to_vec();
        assert!(!progress.truncate_to_step(0, 10, &mut bytes));
        append_entry(&path, &agent([15, 10])).unwrap();
        bytes = b"firstsecond".to_vec();
        assert!(progress.truncate_to_step(0, 10, &mut bytes));
        assert_eq!(bytes, b"first");
        bytes = b"fir".to_vec();
        assert!(!progress.truncate_to_step(0, 10, &mut bytes));
        assert_eq!(progress.take_next(|_| false), None);
        assert!(!progress.is_complete() && !progress.is_recorded());
        assert_eq!(progress.take_next(|sizes| sizes == [15, 10]), Some(agent([15, 10])));
        assert!(progress.is_complete() && progress.is_recorded());
        bytes = b"second".to_vec();
        assert!(!progress.truncate_to_step(0, 15, &mut bytes));
        assert_eq!(bytes, b"second");
    }

    #[test]
    fn unfinished_line_is_not_an_entry() {
        let (_folder, path) = file("torn");
        let mut progress = SetupProgress::open(&path, None);
        let line = serde_json::to_vec(&step(1, [0, 0])).unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(&line[..9]).unwrap();
        progress.read();
        assert!(progress.is_recorded());
        writer.write_all(&line[9..]).unwrap();
        writer.write_all(b"\n").unwrap();
        progress.read();
        assert_eq!(progress.take_next(|_| true), Some(step(1, [0, 0])));
    }

    #[test]
    fn setup_explains_an_unexpected_exit() {
        let (_folder, path) = file("explain");
        append_entry(&path, &step(1, [0, 0])).unwrap();
        let killed = || Exited {
            signal: Some("SIGKILL".to_owned()),
            ..Exited::default()
        };
        let mut exited = killed();
        SetupProgress::open(&path, None).explain_exit(&mut exited);
        assert_eq!(exited.cause, Some(Cause::SetupFailed));
        assert!(exited.error.unwrap().contains("SIGKILL while \"step 1\""));
        let error = "no such thing".to_owned();
        let cause = Cause::SetupFailed;
        append_entry(&path, &ProgressEntry::Failed { cause, error }).unwrap();
        for (before, after) in [
            (None, Cause::SetupFailed),
            (Some(Cause::KeeperLost), Cause::SetupFailed),
            (Some(Cause::Stopped), Cause::Stopped),
            (Some(Cause::Timeout), Cause::Timeout),
        ] {
            let mut exited = Exited {
                cause: before,
                ..killed()
            };
            SetupProgress::open(&path, None).explain_exit(&mut exited);
            assert_eq!(exited.cause, Some(after));
            assert_eq!(exited.error.is_some(), after == Cause::SetupFailed);
        }
        let mut without = killed();
        SetupProgress::open(Path::new("/nowhere"), None).explain_exit(&mut without);
        assert_eq!(without.cause, None);
    }
}
