//! Privacy: other processes of the same user cannot read this process's memory, environment and open files.

use std::ffi::{CStr, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

/// If this variable is set, processes are not private, for debuggers and core dumps.
const DUMPABLE_VARIABLE: &str = "PROMPTD_DUMPABLE";

/// Makes this process private to others of its user: no `ptrace`, no `/proc/<pid>/environ`, `mem` or `fd`, no core dump.
///
/// Until the next `exec`. Root can still read everything.
pub fn make_private() {
    let open = std::env::var_os(DUMPABLE_VARIABLE).is_some_and(|value| !value.is_empty());
    set_dumpable(open);
}

/// Changes whether this process is readable for others; safe between fork and exec.
pub(super) fn set_dumpable(open: bool) {
    // SAFETY: integers only. It cannot fail for these two values.
    let _set = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(open), 0, 0, 0) };
}

/// Removes a variable from the environment, and its value from the memory that `/proc/<pid>/environ` shows, so that
/// neither a child nor another process can read it. Does nothing if this process has more than one thread.
pub fn take_env_variable(name: &CStr) -> Option<OsString> {
    if !has_one_thread() {
        return None;
    }
    // SAFETY: the name ends with NUL, and in a process with one thread nothing changes the environment meanwhile.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: `getenv` returns a text that ends with NUL and is valid until the environment changes.
    let bytes = unsafe { CStr::from_ptr(value) }.to_bytes().to_vec();
    for offset in 0..bytes.len() {
        // SAFETY: `offset` is inside the text; the environment's memory is writable, and there is no other thread that
        // could read it.
        unsafe { value.add(offset).write_volatile(0) };
    }
    let name = String::from_utf8_lossy(name.to_bytes());
    // SAFETY: there is no other thread.
    unsafe { std::env::remove_var(&*name) };
    Some(OsString::from_vec(bytes))
}

/// Replaces the value of an environment variable, or removes it. Does nothing if this process has more than one thread.
pub fn set_env_variable(name: &OsStr, value: Option<&OsStr>) {
    if !has_one_thread() {
        return;
    }
    match value {
        // SAFETY: there is no other thread.
        Some(value) => unsafe { std::env::set_var(name, value) },
        // SAFETY: there is no other thread.
        None => unsafe { std::env::remove_var(name) },
    }
}

fn has_one_thread() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_unchanged_with_several_threads() {
        assert!(!has_one_thread(), "tests run on their own threads");
        assert_eq!(take_env_variable(c"PATH"), None);
        assert!(std::env::var_os("PATH").is_some());
    }
}
