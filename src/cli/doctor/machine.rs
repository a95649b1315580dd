//! Checks of the machine: directories, disk, kernel and platform.

use std::path::Path;

use nix::sys::inotify::{InitFlags, Inotify};
use nix::unistd::{AccessFlags, access};

use super::check::Check;
use crate::cli::client;
use crate::runtime::{Listen, Settings, is_sandbox};
use promptd_sys as sys;

/// The kernel's default; each running turn needs one instance, and so does the server.
const ENOUGH_INOTIFY_INSTANCES: u64 = 128;

pub(super) fn configuration(settings: &Settings) -> Check {
    let file = settings.config_file.display();
    let there = if settings.config_file.exists() {
        format!("{file} is read")
    } else {
        format!("no {file}; defaults and environment")
    };
    let listen = settings.listen.iter().map(|listen| match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    });
    let listen = listen.collect::<Vec<_>>().join(", ");
    Check::ok("configuration", format!("{there}; serve would listen on {listen}"))
}

/// Not every session needs git.
pub(super) fn git(path: Option<&Path>) -> Check {
    const NAME: &str = "git";
    match path {
        Some(path) => Check::ok(NAME, path.display().to_string()),
        None => Check::warn(
            NAME,
            "not on PATH: no session can have a repo, and artifacts have no diff",
            "install it, such as with `apt-get install git`",
        ),
    }
}

/// Checks without creating anything: a missing directory is created on first use.
pub(super) fn writable(name: &str, path: &Path, flag: &str) -> Check {
    let shown = path.display();
    let Some(there) = path.ancestors().find(|ancestor| ancestor.exists()) else {
        return Check::fail(
            name,
            format!("{shown} cannot be found"),
            format!("give another directory with {flag}"),
        );
    };
    if !there.is_dir() {
        return Check::fail(
            name,
            format!("{} is not a directory", there.display()),
            format!("remove it, or give another directory with {flag}"),
        );
    }
    match access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) if there == path => Check::ok(name, format!("{shown} is writable")),
        Ok(()) => Check::ok(name, format!("{shown} will be created")),
        Err(error) => Check::fail(
            name,
            format!("{} is not writable: {}", there.display(), error.desc()),
            format!("change its owner, or give another directory with {flag}"),
        ),
    }
}

pub(super) fn disk(settings: &Settings) -> Check {
    const NAME: &str = "disk";
    let Some(there) = settings.home.ancestors().find(|ancestor| ancestor.exists()) else {
        return Check::warn(
            NAME,
            "the home's file system cannot be found",
            "give another directory with --home",
        );
    };
    let wanted = settings.limits.min_free_bytes;
    match sys::disk_space(there) {
        Ok(space) if space.free < wanted => {
            let detail = format!(
                "{} free, but limits.min_free_bytes is {}: agents would be frozen",
                mebibytes(space.free),
                mebibytes(wanted)
            );
            Check::fail(NAME, detail, "free disk space, or lower the limit")
        }
        Ok(space) => Check::ok(
            NAME,
            format!(
                "{} free of {}; the limit is {}",
                mebibytes(space.free),
                mebibytes(space.total),
                mebibytes(wanted)
            ),
        ),
        Err(error) => Check::warn(
            NAME,
            format!("cannot read the free space: {error}"),
            "check that the home's file system works",
        ),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

pub(super) fn inotify() -> Check {
    const NAME: &str = "inotify";
    const HINT: &str = "raise it: sysctl fs.inotify.max_user_instances=1024";
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let limit_text = limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
    match Inotify::init(InitFlags::IN_CLOEXEC) {
        Err(error) => Check::warn(
            NAME,
            format!(
                "no instance left (limit {limit_text}): {}; journals are read on a timer",
                error.desc()
            ),
            HINT,
        ),
        Ok(_) if limit.is_some_and(|limit| limit < ENOUGH_INOTIFY_INSTANCES) => {
            Check::warn(NAME, format!("only {limit_text} instances per user"), HINT)
        }
        Ok(_) => Check::ok(NAME, format!("{limit_text} instances per user")),
    }
}

/// Without a writable cgroup, a stop searches the process tree, which also works.
pub(super) fn cgroup() -> Check {
    const NAME: &str = "cgroup";
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let root = Path::new("/sys/fs/cgroup");
    match own {
        Some(own) if root.join("cgroup.controllers").exists() => {
            let folder = root.join(own.trim_start_matches('/'));
            if access(&folder, AccessFlags::W_OK).is_ok()
                && access(&folder.join("cgroup.procs"), AccessFlags::W_OK).is_ok()
            {
                Check::ok(NAME, format!("v2, {} is writable", folder.display()))
            } else {
                Check::ok(
                    NAME,
                    format!(
                        "v2, {} is not writable; a stop searches the process tree",
                        folder.display()
                    ),
                )
            }
        }
        _ => Check::ok(NAME, "no v2; a stop searches the process tree"),
    }
}

/// As the server sees it.
pub(super) fn platform(settings: &Settings) -> Check {
    const NAME: &str = "platform";
    let machine = nix::sys::utsname::uname().map_or_else(
        |_| "Linux".to_owned(),
        |name| {
            format!(
                "{} {} {}",
                name.sysname().to_string_lossy(),
                name.release().to_string_lossy(),
                name.machine().to_string_lossy()
            )
        },
    );
    Check::ok(
        NAME,
        if is_sandbox(&settings.platform) {
            format!("E2B sandbox, {machine}")
        } else {
            machine
        },
    )
}

pub(super) fn server(settings: &Settings) -> Check {
    let place = client::socket_path(&settings.home);
    if client::is_serving(&settings.home) {
        Check::ok("server", format!("answers on {place}"))
    } else {
        Check::ok(
            "server",
            format!("none on {place}; `promptd run` hosts one itself, `promptd serve` starts one"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn missing_directory_is_checked_where_it_would_be_created() {
        let missing = std::env::temp_dir().join("promptd-doctor/not/there");
        let check = writable("home", &missing, "--home");
        assert_eq!(
            (check.state, check.detail.ends_with("will be created")),
            (State::Ok, true)
        );
        assert_eq!(
            writable("home", Path::new("/proc/version/x"), "--home").state,
            State::Fail
        );
    }

    #[test]
    fn missing_git_is_a_warning() {
        assert_eq!(git(Some(Path::new("/usr/bin/git"))).state, State::Ok);
        let missing = git(None);
        assert!(missing.state == State::Warn && missing.detail.contains("repo") && missing.hint.is_some());
    }
}
