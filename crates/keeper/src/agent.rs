//! The agent's process: started by us, or found again after another keeper's death.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::ladder::Ladder;
use super::marks;
use super::paths::TurnPaths;
use super::spec::{Launch, Spec, Stdin};
use promptd_model::{Cause, Exited, Resources, Started};
use promptd_sys::{self as sys, Identity, Tree};

/// The agent and its tree.
#[derive(Debug)]
pub(super) struct Agent {
    identity: Identity,
    /// `NAME=value`, which every process of the tree inherits.
    marker: String,
    /// Where the tree writes to.
    outputs: [PathBuf; 2],
    /// It is our child, so that its exit code comes to us, and its orphans, too.
    pub(super) ours: bool,
    /// It has not gone yet.
    pub(super) running: bool,
    /// The machine was not rebooted since its start.
    same_boot: bool,
    oom_kills_before: u64,
}

impl Agent {
    /// Starts the program, or what sets up and then becomes it, with its output going to the turn's files.
    pub(super) fn start(spec: &Spec, launch: &Launch, paths: &TurnPaths) -> Result<Self, String> {
        let failed = |error: io::Error| cannot_start(launch, &error);
        let (mut command, task) = if launch.setup.is_some() {
            let (command, task) = setup(spec, paths).map_err(failed)?;
            (command, Some(task))
        } else {
            let mut command = Command::new(&launch.program);
            command.args(&launch.args).current_dir(&launch.cwd);
            (command, None)
        };
        for (name, _) in std::env::vars_os() {
            // What is ours, the token above all, is none of the agent's business.
            if name.as_encoded_bytes().starts_with(b"PROMPTD_") {
                command.env_remove(name);
            }
        }
        let (name, value) = paths.marker();
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        command.env("PROMPTD_SESSION", &spec.session).env(name, &value);
        let stdio = [
            task.map_or_else(|| stdin(launch.stdin, paths), Ok),
            append(&paths.stdout()),
            append(&paths.stderr()),
        ];
        let [stdin, stdout, stderr] = stdio;
        let setup = sys::ChildSetup {
            stdio: [stdin.map_err(failed)?, stdout.map_err(failed)?, stderr.map_err(failed)?],
        };
        let oom_kills_before = sys::oom_kills();
        let child = sys::spawn(command, setup).map_err(failed)?;
        let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
        // It cannot have vanished: only we reap it. A zombie keeps its start time.
        let start_ticks = sys::start_ticks(pid).unwrap_or(0);
        let identity = Identity { pid, start_ticks };
        Ok(Self {
            identity,
            marker: format!("{name}={value}"),
            outputs: [paths.stdout(), paths.stderr()],
            ours: true,
            running: true,
            same_boot: true,
            oom_kills_before,
        })
    }

    /// Takes over the agent that another keeper started; it runs only if nothing but its keeper has changed.
    pub(super) fn adopt(started: &Started, paths: &TurnPaths) -> Self {
        let identity = Identity {
            pid: started.pid,
            start_ticks: started.start_ticks,
        };
        let same_boot = sys::boot_id().is_ok_and(|boot_id| boot_id == started.boot_id);
        let running = same_boot && sys::identity(started.pid) == Some(identity);
        let (name, value) = paths.marker();
        Self {
            identity,
            marker: format!("{name}={value}"),
            outputs: [paths.stdout(), paths.stderr()],
            ours: false,
            running,
            same_boot,
            oom_kills_before: sys::oom_kills(),
        }
    }

    /// Finds an agent whose start never got into the journal, because its keeper died between the two.
    pub(super) fn find(paths: &TurnPaths) -> Option<Identity> {
        let (name, value) = paths.marker();
        let marker = format!("{name}={value}");
        let tree = Tree {
            roots: &[],
            leader: None,
            marker: &marker,
            outputs: &[],
        };
        sys::find_tree(tree)
            .into_iter()
            .min_by_key(|found| (found.start_ticks, found.pid))
    }

    /// Its record.
    pub(super) fn started(&self, program: String, attempt: u32) -> Started {
        let boot_id = sys::boot_id().unwrap_or_default();
        Started {
            pid: self.identity.pid,
            program,
            attempt,
            start_ticks: self.identity.start_ticks,
            boot_id,
            begun: None,
            commit: None,
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// Whether the process is still there.
    pub(super) fn is_alive(&self) -> bool {
        sys::identity(self.identity.pid) == Some(self.identity)
    }

    /// Why nobody knows how it ended.
    pub(super) fn lost_cause(&self) -> Cause {
        if self.same_boot {
            Cause::KeeperLost
        } else {
            Cause::HostRestart
        }
    }

    /// How long ago it was started, by the kernel's clock.
    ///
    /// That clock may count a pause of the machine: who stays with the agent counts on by its own, and tells whoever
    /// comes later by how much they differ (see `clock`).
    pub(super) fn age(&self) -> Duration {
        let ticks_per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .unwrap_or(100);
        let ticks_per_second = u32::try_from(ticks_per_second).map_or(100.0, f64::from);
        let start = Duration::from_secs(self.identity.start_ticks).as_secs_f64() / ticks_per_second;
        Duration::try_from_secs_f64(sys::boottime_seconds() - start).unwrap_or_default()
    }

    /// All living processes of the tree, the agent among them.
    pub(super) fn tree(&self) -> Vec<Identity> {
        let keeper = i32::try_from(std::process::id()).unwrap_or(0);
        let leader = self.running.then_some(self.identity.pid);
        sys::find_tree(Tree {
            roots: &[keeper],
            leader,
            marker: &self.marker,
            outputs: &self.outputs,
        })
    }

    /// Signals the agent's process group, as a terminal would.
    pub(super) fn signal_group(&self, signal: Signal) {
        // Only while the agent lives, or the group's number may have a new owner.
        if self.running && sys::start_ticks(self.identity.pid) == Some(self.identity.start_ticks) {
            let _gone = killpg(Pid::from_raw(self.identity.pid), signal);
        }
    }

    /// The record of an exit that we waited for, and perhaps made happen.
    pub(super) fn exited(
        &self,
        exit: &sys::Exit,
        age: Duration,
        ladder: Option<&Ladder>,
        leftover_processes: u32,
    ) -> Exited {
        let cause = ladder.and_then(|ladder| ladder.cause);
        let killed_for_memory = exit.status == Err(9) && sys::oom_kills() > self.oom_kills_before;
        Exited {
            code: exit.status.ok(),
            signal: exit.status.err().map(sys::signal_name),
            cause: cause.or(killed_for_memory.then_some(Cause::OutOfMemory)),
            error: None,
            lingered: ladder.is_some_and(|ladder| ladder.cause.is_none()),
            duration: age.as_secs_f64(),
            resources: Resources {
                cpu_seconds: exit.cpu_seconds,
                max_rss_bytes: exit.max_rss_bytes,
            },
            leftover_processes,
        }
    }
}

pub(super) fn cannot_start(launch: &Launch, error: &io::Error) -> String {
    let program = launch.program.display();
    format!("cannot start {program} in {}: {error}", launch.cwd.display())
}

/// The process that sets up: this same program again, with the keeper's own task on its standard input.
fn setup(spec: &Spec, paths: &TurnPaths) -> io::Result<(Command, OwnedFd)> {
    marks::make(&paths.setup())?;
    let mut task = File::from(memfd_create(c"promptd-setup", MFdFlags::MFD_CLOEXEC)?);
    task.write_all(&serde_json::to_vec(spec)?)?;
    task.rewind()?;
    let mut command = Command::new("/proc/self/exe");
    // For whoever reads `ps`, as a keeper's.
    command.arg("setup").arg(&spec.folder).arg(spec.turn.to_string());
    Ok((command, task.into()))
}

pub(super) fn stdin(stdin: Stdin, paths: &TurnPaths) -> io::Result<OwnedFd> {
    let path = match stdin {
        Stdin::Null => "/dev/null".into(),
        Stdin::Prompt => paths.prompt(),
        // Somebody must hold the other end, or this would wait; the keeper does (see `control`).
        Stdin::Open => paths.stdin_fifo(),
    };
    File::open(path).map(Into::into)
}

fn append(path: &std::path::Path) -> io::Result<OwnedFd> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(Into::into)
}
