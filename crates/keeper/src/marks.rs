//! How far the setup is: what the process that does it tells, and the keeper brings into the journal.
//!
//! A file of JSON lines, like the output itself: whoever dies, keeper or server, nothing has to be asked again. Each
//! line is written before what it announces can write anything, and says how long both output files were by then. So
//! the keeper knows of every byte whose it is, however late it looks.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::agent::Agent;
use super::origin::Origin;
use promptd_model::{Body, Cause, Exited, Setup, TurnState, len64};

/// The longest line: a command is cut to less.
const LONGEST: usize = 64 << 10;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// A step begins.
    Step {
        step: u32,
        of: u32,
        command: String,
        sizes: [u64; 2],
    },
    /// The setup is done, and the process becomes the agent.
    Agent {
        program: String,
        origin: Origin,
        sizes: [u64; 2],
    },
    /// It does not, and why.
    Failed { cause: Cause, error: String },
}

impl Mark {
    fn sizes(&self) -> Option<[u64; 2]> {
        match self {
            Self::Step { sizes, .. } | Self::Agent { sizes, .. } => Some(*sizes),
            Self::Failed { .. } => None,
        }
    }

    /// The record that says the same.
    pub(super) fn body(self, agent: &Agent, attempt: u32) -> Option<Body> {
        match self {
            Self::Step { step, of, command, .. } => {
                let process = agent.started(String::new(), attempt);
                Some(Body::Setup(Setup {
                    step,
                    of,
                    command,
                    attempt,
                    pid: process.pid,
                    start_ticks: process.start_ticks,
                    boot_id: process.boot_id,
                }))
            }
            Self::Agent { program, origin, .. } => {
                let mut started = agent.started(program, attempt);
                (started.begun, started.commit) = (origin.begun, origin.commit);
                Some(Body::Started(started))
            }
            Self::Failed { .. } => None,
        }
    }
}

/// Makes the file, empty.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map(drop)
}

/// Adds a line, with one call.
pub(super) fn tell(path: &Path, mark: &Mark) -> io::Result<()> {
    let mut line = serde_json::to_vec(mark)?;
    line.push(b'\n');
    File::options().append(true).open(path)?.write_all(&line)
}

/// The keeper's view of the file.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// None where there is no setup.
    file: Option<File>,
    read: u64,
    /// What is not in the journal yet.
    due: VecDeque<Mark>,
    /// The step that was announced last.
    doing: Option<String>,
    /// The agent has started, or there is no setup.
    over: bool,
    failure: Option<(Cause, String)>,
}

impl Marks {
    /// Opens the file where there is one; `turn` is what the journal says of this attempt already.
    pub(super) fn open(path: &Path, turn: Option<&TurnState>) -> Self {
        let Ok(file) = File::open(path) else {
            return Self {
                over: true,
                ..Self::default()
            };
        };
        let mut marks = Self {
            file: Some(file),
            ..Self::default()
        };
        marks.read();
        match turn.map(|turn| turn.setup) {
            // Nothing of it is in the journal.
            None => {}
            Some(Some(recorded)) => marks
                .due
                .retain(|mark| !matches!(mark, Mark::Step { step, .. } if *step <= recorded)),
            Some(None) => {
                marks.due.clear();
                marks.over = true;
            }
        }
        marks
    }

    /// Takes in what is new in the file.
    pub(super) fn read(&mut self) {
        let Some(file) = self.file.as_ref() else { return };
        let mut block = vec![0; LONGEST];
        while let Ok(read) = file.read_at(&mut block, self.read) {
            let bytes = block.get(..read).unwrap_or_default();
            let Some(end) = memchr::memrchr(b'\n', bytes) else {
                return;
            };
            for line in bytes.get(..end).unwrap_or_default().split(|byte| *byte == b'\n') {
                match serde_json::from_slice(line) {
                    Ok(Mark::Failed { cause, error }) => self.failure = Some((cause, error)),
                    Ok(mark) => {
                        if let Mark::Step { command, .. } = &mark {
                            self.doing = Some(command.clone());
                        }
                        self.due.push_back(mark);
                    }
                    // Nobody but us writes there; if somebody does, it is not a mark.
                    Err(_) => {}
                }
            }
            self.read = self.read.saturating_add(len64(bytes.get(..=end).unwrap_or_default()));
        }
    }

    /// Everything that the file says is in the journal.
    pub(super) fn are_recorded(&self) -> bool {
        self.due.is_empty()
    }

    /// The agent has started, and the journal says so.
    pub(super) fn are_over(&self) -> bool {
        self.over
    }

    /// Cuts what was read of a stream at `position` where the next step begins; true when it ends there.
    pub(super) fn cut(&mut self, index: usize, position: u64, bytes: &mut Vec<u8>) -> bool {
        if self.over {
            return false;
        }
        // After the bytes were read: then what announces them was there before.
        self.read();
        let end = self.due.front().and_then(Mark::sizes);
        let Some(end) = end.and_then(|sizes| sizes.get(index).copied()) else {
            return false;
        };
        let left = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        bytes.truncate(left);
        bytes.len() == left
    }

    /// The next mark, when all that was written before it is in the journal.
    pub(super) fn next(&mut self, is_reached: impl Fn([u64; 2]) -> bool) -> Option<Mark> {
        if !self.due.front()?.sizes().is_none_or(is_reached) {
            return None;
        }
        let mark = self.due.pop_front()?;
        self.over |= matches!(mark, Mark::Agent { .. });
        Some(mark)
    }

    /// Says of an end what the setup knows of it.
    pub(super) fn explain(&mut self, exited: &mut Exited) {
        self.read();
        let begun = self.over || self.due.iter().any(|mark| matches!(mark, Mark::Agent { .. }));
        let unknown = matches!(exited.cause, None | Some(Cause::KeeperLost));
        if let Some((cause, error)) = self.failure.take().filter(|_| unknown) {
            (exited.cause, exited.error) = (Some(cause), Some(error));
        } else if !begun && exited.cause.is_none() {
            let how = exited.signal.as_deref().unwrap_or("an unexpected exit");
            let what = self.doing.as_deref().unwrap_or("it began");
            exited.cause = Some(Cause::SetupFailed);
            exited.error = Some(format!("the setup was ended by {how} while {what:?} ran"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u32, sizes: [u64; 2]) -> Mark {
        let command = format!("step {step}");
        Mark::Step {
            step,
            of: 2,
            command,
            sizes,
        }
    }

    fn agent(sizes: [u64; 2]) -> Mark {
        Mark::Agent {
            program: "/bin/a".to_owned(),
            origin: Origin::default(),
            sizes,
        }
    }

    fn file(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("promptd-marks-{name}-{}", std::process::id()));
        make(&path).unwrap();
        path
    }

    #[test]
    fn output_is_cut_where_the_next_step_begins_and_not_before() {
        let path = file("cut");
        let mut marks = Marks::open(&path, None);
        tell(&path, &step(1, [10, 10])).unwrap();
        let mut bytes = Vec::new();
        assert!(marks.cut(0, 10, &mut bytes));
        assert_eq!(marks.next(|sizes| sizes == [10, 10]), Some(step(1, [10, 10])));
        bytes = b"first".to_vec();
        assert!(!marks.cut(0, 10, &mut bytes));
        tell(&path, &agent([15, 10])).unwrap();
        bytes = b"firstsecond".to_vec();
        assert!(marks.cut(0, 10, &mut bytes));
        assert_eq!(bytes, b"first");
        bytes = b"fir".to_vec();
        assert!(!marks.cut(0, 10, &mut bytes));
        assert_eq!(marks.next(|_| false), None);
        assert!(!marks.are_over() && !marks.are_recorded());
        assert_eq!(marks.next(|sizes| sizes == [15, 10]), Some(agent([15, 10])));
        assert!(marks.are_over() && marks.are_recorded());
        bytes = b"second".to_vec();
        assert!(!marks.cut(0, 15, &mut bytes));
        assert_eq!(bytes, b"second");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_torn_line_is_no_mark_until_it_is_whole() {
        let path = file("torn");
        let mut marks = Marks::open(&path, None);
        let line = serde_json::to_vec(&step(1, [0, 0])).unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(&line[..9]).unwrap();
        marks.read();
        assert!(marks.are_recorded());
        writer.write_all(&line[9..]).unwrap();
        writer.write_all(b"\n").unwrap();
        marks.read();
        assert_eq!(marks.next(|_| true), Some(step(1, [0, 0])));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn an_end_is_explained_by_what_the_setup_told_unless_somebody_ended_it() {
        let path = file("explain");
        tell(&path, &step(1, [0, 0])).unwrap();
        let killed = || Exited {
            signal: Some("SIGKILL".to_owned()),
            ..Exited::default()
        };
        let mut exited = killed();
        Marks::open(&path, None).explain(&mut exited);
        assert_eq!(exited.cause, Some(Cause::SetupFailed));
        assert!(exited.error.unwrap().contains("SIGKILL while \"step 1\""));
        let error = "no such thing".to_owned();
        let cause = Cause::SetupFailed;
        tell(&path, &Mark::Failed { cause, error }).unwrap();
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
            Marks::open(&path, None).explain(&mut exited);
            assert_eq!(exited.cause, Some(after));
            assert_eq!(exited.error.is_some(), after == Cause::SetupFailed);
        }
        let mut without = killed();
        Marks::open(Path::new("/nowhere"), None).explain(&mut without);
        assert_eq!(without.cause, None);
        std::fs::remove_file(path).unwrap();
    }
}
