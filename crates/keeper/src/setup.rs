//! What is done before an agent starts: the process that clones, runs the setup's commands, and then becomes the agent.
//!
//! It stands where the agent will stand, in the same session and process group, with the same output files, marker
//! and environment: so all that holds for an agent holds for the setup, and whoever watches over the one watches over
//! the other. It tells how far it is in a file (see `marks`) and asks nobody: a keeper's death, and a server's, pass
//! it by. Promises that an agent starts only behind a setup that went well.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use super::agent;
use super::marks::{self, Mark};
use super::origin::Origin;
use super::paths::TurnPaths;
use super::repo;
use super::spec::{Launch, Preparation, Spec};
use super::start::read_spec;
use promptd_model::Cause;
use promptd_sys as sys;

/// The most of a command that records and error texts repeat.
const LONGEST_COMMAND: usize = 1 << 10;

/// How much of a step's last words is looked at for its last line, and how much of that is repeated.
const LAST_WORDS: u64 = 8 << 10;
const LONGEST_LINE: usize = 400;

/// The exit code where a step gives none of its own.
const FAILED: u8 = 1;

/// Why the agent does not start.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) error: String,
    pub(super) code: u8,
}

impl Failure {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self {
            cause: Cause::SetupFailed,
            error: error.into(),
            code: FAILED,
        }
    }

    /// Of a command that ended badly, with the last thing it said.
    pub(super) fn ended(what: &str, status: ExitStatus, said: Option<String>) -> Self {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was killed by {}", sys::signal_name(signal)),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let said = said.map_or_else(String::new, |line| format!(": {line}"));
        let code = status
            .code()
            .or(status.signal().map(|signal| signal.saturating_add(128)));
        Self {
            code: code
                .and_then(|code| u8::try_from(code).ok())
                .filter(|code| *code > 0)
                .unwrap_or(FAILED),
            ..Self::new(format!("{what} {how}{said}"))
        }
    }
}

/// Runs as the process that sets up; returns only when the agent was not started.
pub fn main() -> ExitCode {
    sys::name_this_process(c"promptd-setup");
    let spec = match read_spec() {
        Ok(spec) => spec,
        Err(error) => {
            eprintln!("promptd setup: {error}");
            return ExitCode::FAILURE;
        }
    };
    let paths = TurnPaths::new(&spec.folder, spec.turn);
    let failure = match run(&spec, &paths) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    let (cause, error) = (failure.cause, failure.error);
    // If even this cannot be written, the exit code remains, and that the agent never began.
    let _told = marks::tell(&paths.setup(), &Mark::Failed { cause, error });
    ExitCode::from(failure.code)
}

fn run(spec: &Spec, paths: &TurnPaths) -> Result<std::convert::Infallible, Failure> {
    let no_task = || Failure::new("the setup has no task");
    let launch = spec.launch.as_ref().ok_or_else(no_task)?;
    let todo = launch.setup.as_ref().ok_or_else(no_task)?;
    let of = todo.commands.len().saturating_add(usize::from(todo.repo.is_some()));
    let mut step = Steps {
        paths,
        done: 0,
        of: u32::try_from(of).unwrap_or(u32::MAX),
    };
    if let Some(wanted) = &todo.repo {
        let said = step.begin(&repo::in_words(wanted))?;
        repo::provide(wanted, &todo.base, &launch.cwd, &said)?;
    }
    for command in &todo.commands {
        let said = step.begin(command)?;
        run_command(todo, &launch.cwd, command, &step, &said)?;
    }
    become_agent(launch, &step)
}

fn run_command(todo: &Preparation, cwd: &Path, command: &str, step: &Steps<'_>, said: &Said) -> Result<(), Failure> {
    let what = format!(
        "the setup command `{}` ({} of {})",
        shortened(command),
        step.done,
        step.of
    );
    let failed = |error: io::Error| Failure::new(format!("{what} cannot be started in {}: {error}", cwd.display()));
    let mut shell = Command::new(&todo.shell);
    shell.arg("-c").arg(command).current_dir(cwd).stdin(Stdio::null());
    let status = shell.status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::ended(&what, status, said.last_line()))
}

fn become_agent(launch: &Launch, step: &Steps<'_>) -> Result<std::convert::Infallible, Failure> {
    let failed = |error: io::Error| Failure {
        cause: Cause::SpawnFailed,
        error: agent::cannot_start(launch, &error),
        code: FAILED,
    };
    let stdin = agent::stdin(launch.stdin, step.paths).map_err(failed)?;
    nix::unistd::dup2_stdin(stdin).map_err(|errno| failed(errno.into()))?;
    let program = launch.program.display().to_string();
    let (origin, sizes) = (Origin::of(&launch.cwd), sizes().map_err(failed)?);
    let mark = Mark::Agent { program, origin, sizes };
    marks::tell(&step.paths.setup(), &mark).map_err(failed)?;
    Err(failed(
        Command::new(&launch.program)
            .args(&launch.args)
            .current_dir(&launch.cwd)
            .exec(),
    ))
}

/// The steps, one after the other.
struct Steps<'a> {
    paths: &'a TurnPaths,
    done: u32,
    of: u32,
}

impl Steps<'_> {
    /// Announces the next one.
    fn begin(&mut self, command: &str) -> Result<Said, Failure> {
        self.done = self.done.saturating_add(1);
        let failed = |error: io::Error| Failure::new(format!("the setup cannot tell how far it is: {error}"));
        let sizes = sizes().map_err(failed)?;
        let mark = Mark::Step {
            step: self.done,
            of: self.of,
            command: shortened(command),
            sizes,
        };
        marks::tell(&self.paths.setup(), &mark).map_err(failed)?;
        let [_, from] = sizes;
        let stderr = File::open(self.paths.stderr()).ok();
        Ok(Said { stderr, from })
    }
}

/// Where a step's last words will stand.
#[derive(Default)]
pub(super) struct Said {
    stderr: Option<File>,
    from: u64,
}

impl Said {
    /// The last line that the step wrote to its standard error: nearly always the reason.
    pub(super) fn last_line(&self) -> Option<String> {
        let file = self.stderr.as_ref()?;
        let end = file.metadata().ok()?.len();
        let from = self.from.max(end.saturating_sub(LAST_WORDS));
        let mut bytes = vec![0; usize::try_from(end.checked_sub(from)?).ok()?];
        file.read_exact_at(&mut bytes, from).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        // A progress bar writes over its own line.
        let mut lines = text.rsplit(['\n', '\r']).map(str::trim);
        let line = lines.find(|line| !line.is_empty() && !line.contains('\0'))?;
        Some(
            line.chars()
                .filter(|letter| !letter.is_control())
                .take(LONGEST_LINE)
                .collect(),
        )
    }
}

/// How long both output files are now.
fn sizes() -> io::Result<[u64; 2]> {
    let size = |fd: BorrowedFd<'_>| -> io::Result<u64> { Ok(File::from(fd.try_clone_to_owned()?).metadata()?.len()) };
    Ok([size(io::stdout().as_fd())?, size(io::stderr().as_fd())?])
}

fn shortened(command: &str) -> String {
    let end = command.floor_char_boundary(LONGEST_COMMAND);
    let dots = if end < command.len() { "…" } else { "" };
    format!("{}{dots}", command.get(..end).unwrap_or_default())
}
