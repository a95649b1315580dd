//! How many files a process may have open.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit that this process was started with, if it has raised its own.
static INHERITED: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit to the hard one: the soft one is low, so that programs with `select` do not break, and a server
/// with many readers needs more.
pub fn raise_file_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    // A system that refuses leaves the limit as it is.
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        let _known = INHERITED.set(soft);
    }
}

/// How many files this process may have open.
pub fn file_limit() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

/// The soft limit for children, if it is not that of this process.
pub fn inherited_file_limit() -> Option<u64> {
    INHERITED.get().copied()
}

/// Changes the soft limit of this process and its future children.
pub fn set_file_limit(soft: u64) -> std::io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
}

/// Gives a child the limit that this process was started with.
///
/// Only after its start, because nothing of ours runs between `posix_spawn` and the child's program.
pub fn restore_file_limit(child: u32) {
    let (Some(soft), Ok(pid)) = (inherited_file_limit(), i32::try_from(child)) else {
        return;
    };
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the new limit is a local that lives through the call, and no old limit is asked for. A child that has gone
    // needs none; its pid is not reused before it is reaped.
    let _set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
}
