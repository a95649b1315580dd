//! Processes: identity across restarts, process trees, and waiting for processes that are not children.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use memchr::memmem;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process, distinguished from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: i32,
    /// Clock ticks from boot to its start: field 22 of `/proc/<pid>/stat`.
    pub start_ticks: u64,
}

/// No process descends from more than so many.
const MAX_ANCESTORS: usize = 4096;

/// The used fields of `/proc/<pid>/stat`, see proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The state letter; `Z` is a zombie, `X` is dead.
    pub state: u8,
    /// The parent's pid.
    pub parent: i32,
    /// The session id.
    pub session: i32,
    /// Clock ticks from boot to the start.
    pub start_ticks: u64,
}

/// Parses the fields after the command name, which may contain spaces and parentheses.
pub fn parse_stat(line: &[u8]) -> Option<Stat> {
    let after_name = line.get(memchr::memrchr(b')', line)?.checked_add(2)?..)?;
    let text = std::str::from_utf8(after_name).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        state,
        parent,
        session,
        start_ticks,
    })
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The identity of a living process; `None` if there is none, or only a zombie.
pub fn identity(pid: i32) -> Option<ProcessIdentity> {
    let stat = stat(pid)?;
    (!matches!(stat.state, b'Z' | b'X')).then_some(ProcessIdentity {
        pid,
        start_ticks: stat.start_ticks,
    })
}

/// When a process was started; also for a zombie, whose pid is still in use.
pub fn start_ticks(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_ticks)
}

/// The kernel's id for this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim_end()
        .to_owned())
}

/// Seconds since boot, as process start times count them.
pub fn boottime_seconds() -> f64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0.0, |now| std::time::Duration::from(now).as_secs_f64())
}

/// How many processes the kernel has killed since boot because memory ran out.
pub fn oom_kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
        .unwrap_or(0)
}

/// A signal's name, such as `SIGKILL`.
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("SIG{signal}"), |signal| signal.as_str().to_owned())
}

/// How the processes of a tree are recognized. At least one condition holds for every process that an agent starts: a
/// process that forks twice is reparented to the keeper, one that calls `setsid` keeps the environment, and one that
/// clears the environment stays a descendant. If the keeper was killed in between, a process that did all three is still
/// found if it writes to the turn's files.
#[derive(Clone, Copy, Debug)]
pub struct TreeQuery<'a> {
    /// It descends from one of these processes (which are not part of the tree).
    pub roots: &'a [i32],
    /// It belongs to the session of this process.
    pub leader: Option<i32>,
    /// It was started with this in its environment.
    pub marker: Marker<'a>,
    /// It has one of these files as standard output or error.
    pub outputs: &'a [PathBuf],
}

/// A variable in a process's environment.
#[derive(Clone, Copy, Debug)]
pub enum Marker<'a> {
    /// `NAME=value`.
    Is(&'a str),
    /// `NAME=` and the beginning of the value.
    BeginsWith(&'a str),
}

/// Finds the living processes of a tree. Processes of other users have an unreadable environment, and are found by descent.
pub fn find_tree(tree: TreeQuery<'_>) -> Vec<ProcessIdentity> {
    let TreeQuery {
        roots,
        leader,
        marker,
        outputs,
    } = tree;
    let mut living = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some(stat) = stat(pid).filter(|stat| !matches!(stat.state, b'Z' | b'X')) {
            living.insert(pid, stat);
        }
    }
    let mut found: HashSet<i32> = HashSet::new();
    for (&pid, stat) in &living {
        let marked = || has_marker(pid, marker);
        let writes =
            || (1..=2).any(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|to| outputs.contains(&to)));
        let belongs = || Some(stat.session) == leader || descends(pid, roots, &living) || marked() || writes();
        if !roots.contains(&pid) && belongs() {
            found.insert(pid);
        }
    }
    // Children of found processes belong to the tree: a marked process may start one with a cleared environment.
    let founders: Vec<i32> = found.iter().copied().collect();
    found.extend(
        living
            .keys()
            .filter(|pid| !roots.contains(pid) && descends(**pid, &founders, &living)),
    );
    found
        .iter()
        .filter_map(|pid| {
            Some(ProcessIdentity {
                pid: *pid,
                start_ticks: living.get(pid)?.start_ticks,
            })
        })
        .collect()
}

/// Whether a process was started with such a variable; not if this user may not read its environment.
pub fn has_marker(pid: i32, marker: Marker<'_>) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| has_entry(&environ, marker))
}

fn has_entry(environ: &[u8], marker: Marker<'_>) -> bool {
    let (Marker::Is(text) | Marker::BeginsWith(text)) = marker;
    let is_marker = |entry: &[u8]| match marker {
        Marker::Is(text) => entry == text.as_bytes(),
        Marker::BeginsWith(text) => entry.starts_with(text.as_bytes()),
    };
    // A substring search first: it is fast, and almost always negative.
    memmem::find(environ, text.as_bytes()).is_some() && environ.split(|byte| *byte == 0).any(is_marker)
}

/// The living processes whose arguments after the program's name begin with these.
pub fn find_by_arguments(arguments: &[&[u8]]) -> Vec<ProcessIdentity> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_wanted = |pid: &i32| {
        let words = self::arguments(*pid);
        let mut words = words.iter();
        arguments
            .iter()
            .all(|argument| words.next().is_some_and(|word| word == argument))
    };
    pids.filter(is_wanted).filter_map(identity).collect()
}

/// A process's arguments after the program's name.
pub fn arguments(pid: i32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).skip(1).map(<[u8]>::to_vec).collect()
}

/// What the processes of a group have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupActivity {
    /// How long they ran on a processor, in clock ticks.
    pub ticks: u64,
    /// One of their threads runs, or waits for a processor or for a disk.
    pub is_busy: bool,
}

/// What the processes of a group have done until now.
pub fn group_activity(group: i32) -> GroupActivity {
    let mut activity = GroupActivity::default();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        let Some((_, _, ticks)) = state_of(format!("/proc/{pid}/stat")).filter(|(_, of, _)| *of == group) else {
            continue;
        };
        activity.ticks = activity.ticks.saturating_add(ticks);
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        activity.is_busy |= threads
            .filter_map(|thread| state_of(thread.path().join("stat")))
            .any(|(state, _, _)| matches!(state, b'R' | b'D'));
    }
    activity
}

/// The state, the group and the clock ticks of a process or a thread.
fn state_of(stat: impl AsRef<Path>) -> Option<(u8, i32, u64)> {
    let line = fs::read(stat).ok()?;
    let after_name = line.get(memchr::memrchr(b')', &line)?.checked_add(2)?..)?;
    let mut fields = std::str::from_utf8(after_name).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let group = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(8)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((state, group, user.saturating_add(system)))
}

/// Whether a process was stopped by a signal, such as SIGSTOP, and does nothing until SIGCONT.
pub fn is_stopped(process: ProcessIdentity) -> bool {
    stat(process.pid).is_some_and(|stat| stat.start_ticks == process.start_ticks && stat.state == b'T')
}

/// Whether a process waits in the kernel for something that no signal ends, such as a slow disk.
pub fn is_uninterruptible(process: ProcessIdentity) -> bool {
    stat(process.pid).is_some_and(|stat| stat.start_ticks == process.start_ticks && stat.state == b'D')
}

/// A process and those that it descends from, up to the first one.
pub fn ancestry(pid: i32) -> impl Iterator<Item = i32> {
    // Bounded, because parents may change meanwhile.
    std::iter::successors(Some(pid), |pid| Some(stat(*pid)?.parent).filter(|parent| *parent > 1)).take(MAX_ANCESTORS)
}

fn descends(pid: i32, roots: &[i32], living: &HashMap<i32, Stat>) -> bool {
    let mut current = pid;
    // Bounded, because parents may have changed while the table was read.
    for _ in 0..living.len() {
        match living.get(&current) {
            Some(stat) if roots.contains(&stat.parent) => return true,
            Some(stat) if stat.parent > 1 => current = stat.parent,
            Some(_) | None => return false,
        }
    }
    false
}

/// Signals each process, unless its pid is used by another process now.
pub fn signal_all(processes: &[ProcessIdentity], signal: Signal) {
    for process in processes {
        if identity(process.pid) == Some(*process) {
            // If it exits between the check and the call, nothing needs to be signalled.
            let _gone = kill(Pid::from_raw(process.pid), signal);
        }
    }
}

/// A handle on a process that becomes readable when it ends, also if it is not a child.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the handle; `NotFound` if the process has exited already.
    pub fn open(process: ProcessIdentity) -> io::Result<Self> {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.pid, 0) };
        let fd = RawFd::try_from(fd)
            .ok()
            .filter(|fd| *fd >= 0)
            .ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
        let handle = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // Only now it is sure that the pid was not reused before the handle was opened.
        if identity(process.pid) == Some(process) {
            Ok(handle)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn command_name_may_contain_parentheses() {
        let line = b"42 (a) b (c)) S 7 42 43 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        assert_eq!(
            parse_stat(line),
            Some(Stat {
                state: b'S',
                parent: 7,
                session: 43,
                start_ticks: 987_654
            })
        );
    }

    #[test]
    fn own_process_is_found() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(identity(pid).map(|found| found.pid), Some(pid));
        assert!(PidFd::open(identity(pid).unwrap()).is_ok());
    }

    proptest! {
        #[test]
        fn damaged_stat_line_does_not_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _stat = parse_stat(&line);
        }
    }
}
