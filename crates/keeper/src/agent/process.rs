//! The agent's process: started by this keeper, or adopted after another keeper's death.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::pump;
use super::start_point::StartPoint;
use super::stdio::{append_to, open_stdin};
use crate::paths::TurnPaths;
use crate::spec::{Launch, Spec};
use promptd_model::{Cause, Exited, Resources, Started};
use promptd_sys::{self as sys, Marker, ProcessIdentity, TreeQuery};

/// The agent and its process tree.
#[derive(Debug)]
pub(crate) struct Agent {
    identity: ProcessIdentity,
    /// `NAME=value`, which every process of the tree inherits.
    marker: String,
    paths: TurnPaths,
    /// The output files of the tree.
    outputs: [PathBuf; 3],
    /// It is a child of this process, so this process gets its exit code and its orphans.
    pub(crate) is_child: bool,
    /// It has not exited yet.
    pub(crate) running: bool,
    /// The machine was not rebooted since its start.
    same_boot: bool,
    oom_kills_before: u64,
}

/// The living processes of an agent's tree.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(crate) all: Vec<ProcessIdentity>,
    pub(crate) others: Vec<ProcessIdentity>,
}

impl Agent {
    /// Starts the program, or the setup process that becomes it, with the turn's files as its output.
    pub(crate) fn start(spec: &Spec, launch: &Launch, paths: &TurnPaths) -> Result<Self, String> {
        let failed = |error: io::Error| start_error(launch, &error);
        let command = if launch.setup.is_some() {
            setup_command(spec)
        } else {
            agent_command(launch, paths)
        };
        let (mut command, stdin) = command.map_err(failed)?;
        for (name, _) in std::env::vars_os() {
            // These variables are promptd's own, most of all the token; the agent must not see them.
            if name.as_encoded_bytes().starts_with(b"PROMPTD_") {
                command.env_remove(name);
            }
        }
        let (name, value) = paths.marker();
        command.envs(launch.env.iter().map(|(name, value)| (name, value)));
        command.env("PROMPTD_SESSION", &spec.session).env(name, &value);
        // A setup process writes to the file, and starts the pump when it becomes the agent.
        let stdout = if launch.stdout_pipe && launch.setup.is_none() {
            pump::start(paths).map_err(failed)?
        } else {
            append_to(&paths.stdout()).map_err(failed)?
        };
        let stderr = append_to(&paths.stderr()).map_err(failed)?;
        let oom_kills_before = sys::oom_kills();
        let stdio = [stdin, stdout, stderr];
        let child = sys::spawn(command, sys::ChildSetup { stdio }).map_err(failed)?;
        let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
        // The process exists: only this keeper reaps it, and a zombie keeps its start time.
        let start_ticks = sys::start_ticks(pid).unwrap_or(0);
        Ok(Self {
            is_child: true,
            running: true,
            same_boot: true,
            oom_kills_before,
            ..Self::new(ProcessIdentity { pid, start_ticks }, paths)
        })
    }

    /// Adopts the agent that another keeper started; `running` tells whether it is still there.
    pub(crate) fn adopt(started: &Started, paths: &TurnPaths) -> Self {
        let identity = ProcessIdentity {
            pid: started.pid,
            start_ticks: started.start_ticks,
        };
        let same_boot = sys::boot_id().is_ok_and(|boot_id| boot_id == started.boot_id);
        Self {
            running: same_boot && sys::identity(started.pid) == Some(identity),
            same_boot,
            ..Self::new(identity, paths)
        }
    }

    fn new(identity: ProcessIdentity, paths: &TurnPaths) -> Self {
        Self {
            identity,
            marker: marker(paths),
            paths: paths.clone(),
            outputs: [paths.stdout(), paths.stderr(), paths.stdout_fifo()],
            is_child: false,
            running: false,
            same_boot: false,
            oom_kills_before: sys::oom_kills(),
        }
    }

    /// Finds an agent whose start is not in the journal, because its keeper died in between; answers its record.
    pub(crate) fn find(paths: &TurnPaths, program: String, spec: &Spec) -> Option<Started> {
        let pumps = pump::find(paths);
        let found = sys::find_tree(TreeQuery {
            roots: &[],
            leader: None,
            marker: Marker::Is(&marker(paths)),
            outputs: &[],
        });
        let first = found
            .into_iter()
            .filter(|process| !pumps.contains(process))
            .min_by_key(|process| (process.start_ticks, process.pid))?;
        Some(started_record(first, program, spec, StartPoint::default()))
    }

    /// The record of its start.
    pub(crate) fn started(&self, program: String, spec: &Spec, start_point: StartPoint) -> Started {
        started_record(self.identity, program, spec, start_point)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// Whether the process still exists.
    pub(crate) fn is_alive(&self) -> bool {
        sys::identity(self.identity.pid) == Some(self.identity)
    }

    /// Why its exit code is unknown.
    pub(crate) fn lost_cause(&self) -> Cause {
        if self.same_boot {
            Cause::KeeperLost
        } else {
            Cause::HostRestart
        }
    }

    /// How long ago it was started, by the kernel's clock.
    ///
    /// That clock may include pauses of the machine. `clock::AgentAge` corrects that.
    pub(crate) fn kernel_age(&self) -> Duration {
        let ticks_per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .unwrap_or(100);
        let ticks_per_second = u32::try_from(ticks_per_second).map_or(100.0, f64::from);
        let start = Duration::from_secs(self.identity.start_ticks).as_secs_f64() / ticks_per_second;
        Duration::try_from_secs_f64(sys::boottime_seconds() - start).unwrap_or_default()
    }

    /// All living processes of the tree, and those of them that are no pump: a pump ends by itself when nobody can write to it
    /// any more.
    pub(crate) fn processes(&self) -> Processes {
        // Pumps first: one that ends in between is in neither list.
        let pumps = pump::find(&self.paths);
        let all = self.tree();
        let others = all.iter().filter(|process| !pumps.contains(process)).copied();
        Processes {
            others: others.collect(),
            all,
        }
    }

    /// How many bytes that were written to a pipe may not be in the output file yet.
    pub(crate) fn in_pipe(&self) -> u64 {
        pump::unread(&self.paths.stdout_fifo())
    }

    /// All living processes of the tree, including the agent.
    pub(crate) fn tree(&self) -> Vec<ProcessIdentity> {
        let keeper = i32::try_from(std::process::id()).unwrap_or(0);
        sys::find_tree(TreeQuery {
            roots: &[keeper],
            leader: self.running.then_some(self.identity.pid),
            marker: Marker::Is(&self.marker),
            outputs: &self.outputs,
        })
    }

    /// Signals the agent's process group, as a terminal does.
    pub(crate) fn signal_group(&self, signal: Signal) {
        // Only while the agent exists: after its end the group's number may be reused.
        if self.running && sys::start_ticks(self.identity.pid) == Some(self.identity.start_ticks) {
            let _gone = killpg(Pid::from_raw(self.identity.pid), signal);
        }
    }

    /// The record of an exit that this keeper has seen. `cause` is why the keeper ended the agent, `lingered` that it
    /// ended an agent that did not exit after its final result.
    pub(crate) fn exited(&self, exit: &sys::ChildExit, age: Duration, cause: Option<Cause>, lingered: bool) -> Exited {
        let out_of_memory = exit.status == Err(9) && sys::oom_kills() > self.oom_kills_before;
        Exited {
            code: exit.status.ok(),
            signal: exit.status.err().map(sys::signal_name),
            cause: cause.or(out_of_memory.then_some(Cause::OutOfMemory)),
            lingered,
            duration: age.as_secs_f64(),
            resources: Resources {
                cpu_seconds: exit.cpu_seconds,
                max_rss_bytes: exit.max_rss_bytes,
            },
            ..Exited::default()
        }
    }
}

/// The environment variable that marks the processes of a turn.
fn marker(paths: &TurnPaths) -> String {
    let (name, value) = paths.marker();
    format!("{name}={value}")
}

fn started_record(process: ProcessIdentity, program: String, spec: &Spec, start_point: StartPoint) -> Started {
    Started {
        pid: process.pid,
        program,
        attempt: spec.attempt,
        start_ticks: process.start_ticks,
        boot_id: sys::boot_id().unwrap_or_default(),
        begun: start_point.begun,
        commit: start_point.commit,
        format: spec.format.clone(),
    }
}

/// The error message if the program cannot be started.
pub(crate) fn start_error(launch: &Launch, error: &io::Error) -> String {
    let program = launch.program.display();
    format!("cannot start {program} in {}: {error}", launch.cwd.display())
}

fn agent_command(launch: &Launch, paths: &TurnPaths) -> io::Result<(Command, OwnedFd)> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).current_dir(&launch.cwd);
    Ok((command, open_stdin(launch.stdin, paths)?))
}

/// The setup process: this program again, with the keeper's own task on its standard input.
fn setup_command(spec: &Spec) -> io::Result<(Command, OwnedFd)> {
    let mut task = File::from(memfd_create(c"promptd-setup", MFdFlags::MFD_CLOEXEC)?);
    task.write_all(&serde_json::to_vec(spec)?)?;
    task.rewind()?;
    let mut command = Command::new("/proc/self/exe");
    // The arguments are only for people who read `ps`.
    command.arg("setup").arg(&spec.folder).arg(spec.turn.to_string());
    Ok((command, task.into()))
}
