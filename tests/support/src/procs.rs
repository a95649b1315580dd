//! Processes as `/proc` shows them, not as the server reports them.

use std::path::Path;
use std::process::Command;

/// Pids of living processes whose environment says that they belong to a turn below `home`.
pub fn marked(home: &Path) -> Vec<i32> {
    let marker = format!("PROMPTD_TURN={}/", home.display());
    living(|pid| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|entry| entry.starts_with(marker.as_bytes()))
    })
}

/// Pids of living keepers of sessions below `home`.
pub fn keepers(home: &Path) -> Vec<i32> {
    let home = home.display().to_string();
    living(|pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        words.get(1).is_some_and(|word| word == "keeper")
            && words.get(2).is_some_and(|folder| folder.starts_with(&home))
    })
}

/// Pids of living processes whose command line contains `text`.
pub fn named(text: &str) -> Vec<i32> {
    living(|pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(text)
    })
}

/// Whether a process lives (a zombie does not).
pub fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// Sends a signal by name.
pub fn signal(pid: i32, name: &str) {
    let _status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
}

/// Ends whatever a test has left below `home`.
pub fn kill_marked(home: &Path) {
    for _ in 0..20 {
        let left: Vec<i32> = marked(home).into_iter().chain(keepers(home)).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            signal(pid, "KILL");
        }
    }
}

/// Field of `/proc/<pid>/status`, such as `VmRSS`, in bytes.
pub fn memory(pid: i32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// How many threads a process has.
pub fn threads(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// How many children of a process are zombies.
pub fn zombies(parent: i32) -> usize {
    let is_zombie_of = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(parent.to_string().as_str())
    };
    pids().into_iter().filter(|pid| is_zombie_of(*pid)).count()
}

fn living(wanted: impl Fn(i32) -> bool) -> Vec<i32> {
    pids().into_iter().filter(|pid| lives(*pid) && wanted(*pid)).collect()
}

fn pids() -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
