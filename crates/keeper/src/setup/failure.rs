//! Why a setup failed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;

use promptd_model::Cause;
use promptd_sys as sys;

/// How many bytes at the end of a step's stderr are searched for its last line.
const TAIL: u64 = 8 << 10;

/// Maximum characters of that line in an error message.
const MAX_LINE: usize = 400;

/// The exit code if the failed step has none.
const EXIT_CODE: u8 = 1;

/// Why the agent does not start.
#[derive(Debug)]
pub(super) struct SetupFailure {
    pub(super) cause: Cause,
    pub(super) error: String,
    pub(super) code: u8,
}

impl SetupFailure {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self {
            cause: Cause::SetupFailed,
            error: error.into(),
            code: EXIT_CODE,
        }
    }

    /// A command that failed, with the last line of its stderr.
    pub(super) fn of_command(command: &str, status: ExitStatus, stderr: &StepStderr) -> Self {
        let result = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was killed by {}", sys::signal_name(signal)),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let detail = stderr.last_line().map_or_else(String::new, |line| format!(": {line}"));
        let signal = status.signal().map(|signal| signal.saturating_add(128));
        let code = status.code().or(signal).and_then(|code| u8::try_from(code).ok());
        Self {
            code: code.filter(|code| *code > 0).unwrap_or(EXIT_CODE),
            ..Self::new(format!("{command} {result}{detail}"))
        }
    }
}

/// The failure if the folder cannot be used.
pub(super) fn cannot_use(target: &Path, error: &io::Error) -> SetupFailure {
    let target = target.display();
    SetupFailure::new(format!("cannot use {target}: {error}; name another repo.dir"))
}

/// The part of the stderr file that belongs to one step.
#[derive(Default)]
pub(super) struct StepStderr {
    pub(super) file: Option<File>,
    pub(super) start: u64,
}

impl StepStderr {
    /// The last line that the step wrote: usually the reason of a failure.
    fn last_line(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let end = file.metadata().ok()?.len();
        let start = self.start.max(end.saturating_sub(TAIL));
        let mut bytes = vec![0; usize::try_from(end.checked_sub(start)?).ok()?];
        file.read_exact_at(&mut bytes, start).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        // A progress bar overwrites its line with carriage returns.
        let mut lines = text.rsplit(['\n', '\r']).map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.contains('\0'))?;
        let printable = line.chars().filter(|letter| !letter.is_control());
        Some(printable.take(MAX_LINE).collect())
    }
}
