//! The life of the setup process.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use super::failure::{SetupFailure, StepStderr};
use super::progress::{ProgressEntry, append_entry};
use super::repo;
use crate::agent::{StartPoint, open_stdin, start_error, start_pump};
use crate::paths::TurnPaths;
use crate::spec::{Launch, SetupSpec, Spec};
use promptd_model::Cause;
use promptd_sys as sys;

/// Maximum bytes of a command in records and error messages.
const MAX_COMMAND: usize = 1 << 10;

/// Runs as the setup process; returns only if the agent was not started.
pub fn main() -> ExitCode {
    sys::name_this_process(c"promptd-setup");
    let spec = match Spec::from_stdin() {
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
    // If this cannot be written, the keeper still has the exit code, and knows that the agent did not start.
    let _written = append_entry(&paths.setup(), &ProgressEntry::Failed { cause, error });
    ExitCode::from(failure.code)
}

fn run(spec: &Spec, paths: &TurnPaths) -> Result<Infallible, SetupFailure> {
    let no_task = || SetupFailure::new("the setup has no task");
    let launch = spec.launch.as_ref().ok_or_else(no_task)?;
    let setup = launch.setup.as_ref().ok_or_else(no_task)?;
    let of = setup.commands.len().saturating_add(usize::from(setup.repo.is_some()));
    let mut steps = Steps {
        paths,
        started: 0,
        of: u32::try_from(of).unwrap_or(u32::MAX),
    };
    if let Some(request) = &setup.repo {
        let stderr = steps.start(&repo::describe(request))?;
        repo::clone_or_update(request, &setup.base, &launch.cwd, &stderr)?;
    }
    for command in &setup.commands {
        let stderr = steps.start(command)?;
        run_command(setup, launch, command, &steps, &stderr)?;
    }
    exec_agent(launch, paths)
}

fn run_command(
    setup: &SetupSpec,
    launch: &Launch,
    command: &str,
    steps: &Steps<'_>,
    stderr: &StepStderr,
) -> Result<(), SetupFailure> {
    let Steps { started, of, .. } = steps;
    let name = format!("the setup command `{}` ({started} of {of})", shorten(command));
    let failed = |error: io::Error| {
        let folder = launch.cwd.display();
        SetupFailure::new(format!("{name} cannot be started in {folder}: {error}"))
    };
    let mut shell = Command::new(&setup.shell);
    shell
        .arg("-c")
        .arg(command)
        .current_dir(&launch.cwd)
        .stdin(Stdio::null());
    let status = shell.status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(SetupFailure::of_command(&name, status, stderr))
}

fn exec_agent(launch: &Launch, paths: &TurnPaths) -> Result<Infallible, SetupFailure> {
    let failed = |error: io::Error| SetupFailure {
        cause: Cause::SpawnFailed,
        ..SetupFailure::new(start_error(launch, &error))
    };
    let stdin = open_stdin(launch.stdin, paths).map_err(failed)?;
    nix::unistd::dup2_stdin(stdin).map_err(|errno| failed(errno.into()))?;
    let entry = ProgressEntry::Agent {
        program: launch.program.display().to_string(),
        origin: StartPoint::of(&launch.cwd),
        sizes: output_sizes().map_err(failed)?,
    };
    if launch.stdout_pipe {
        let pipe = start_pump(paths).map_err(failed)?;
        nix::unistd::dup2_stdout(pipe).map_err(|errno| failed(errno.into()))?;
    }
    append_entry(&paths.setup(), &entry).map_err(failed)?;
    let mut agent = Command::new(&launch.program);
    Err(failed(agent.args(&launch.args).current_dir(&launch.cwd).exec()))
}

/// Counts and announces the steps.
struct Steps<'a> {
    paths: &'a TurnPaths,
    started: u32,
    of: u32,
}

impl Steps<'_> {
    /// Announces the next step.
    fn start(&mut self, command: &str) -> Result<StepStderr, SetupFailure> {
        self.started = self.started.saturating_add(1);
        let failed = |error: io::Error| SetupFailure::new(format!("the setup cannot write its progress: {error}"));
        let sizes = output_sizes().map_err(failed)?;
        let entry = ProgressEntry::Step {
            step: self.started,
            of: self.of,
            command: shorten(command),
            sizes,
        };
        append_entry(&self.paths.setup(), &entry).map_err(failed)?;
        let [_, start] = sizes;
        let file = sys::open_own(&self.paths.stderr(), File::options().read(true)).ok();
        Ok(StepStderr { file, start })
    }
}

/// The current sizes of both output files.
fn output_sizes() -> io::Result<[u64; 2]> {
    let size = |fd: BorrowedFd<'_>| -> io::Result<u64> { Ok(File::from(fd.try_clone_to_owned()?).metadata()?.len()) };
    Ok([size(io::stdout().as_fd())?, size(io::stderr().as_fd())?])
}

fn shorten(command: &str) -> String {
    let end = command.floor_char_boundary(MAX_COMMAND);
    let dots = if end < command.len() { "…" } else { "" };
    format!("{}{dots}", command.get(..end).unwrap_or_default())
}
