//! What others of the same user may not see of this process: its memory, its environment, its open files.

use std::ffi::{CStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

/// Whoever sets this wants to look into our processes with a debugger, or at their core dumps.
const OPEN: &str = "PROMPTD_DUMPABLE";

/// Closes this process to others of its user: no `ptrace`, no `/proc/<pid>/environ`, `mem` or `fd`, no core dump.
///
/// It lasts until the next `exec`. Root sees everything all the same.
pub fn make_private() {
    let open = std::env::var_os(OPEN).is_some_and(|value| !value.is_empty());
    set_dumpable(open);
}

/// Opens or closes this process; safe between fork and exec.
pub(super) fn set_dumpable(open: bool) {
    // SAFETY: integers only. It cannot fail for these two values.
    let _set = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(open), 0, 0, 0) };
}

/// Takes a variable out of the environment, and its value out of the memory that `/proc/<pid>/environ` shows, so that
/// neither a child nor somebody who looks finds it there. Does nothing once this process has a second thread.
pub fn take_variable(name: &CStr) -> Option<OsString> {
    if !has_one_thread() {
        return None;
    }
    // SAFETY: the name ends with NUL, and in a process with one thread nobody changes the environment meanwhile.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: `getenv` answers a text that ends with NUL and lives as long as nobody changes the environment.
    let bytes = unsafe { CStr::from_ptr(value) }.to_bytes().to_vec();
    for offset in 0..bytes.len() {
        // SAFETY: `offset` lies in the text that was just measured; the environment's memory may be written to, and
        // nobody else looks at it, because there is no other thread.
        unsafe { value.add(offset).write_volatile(0) };
    }
    let name = String::from_utf8_lossy(name.to_bytes());
    // SAFETY: no other thread, as above.
    unsafe { std::env::remove_var(&*name) };
    Some(OsString::from_vec(bytes))
}

fn has_one_thread() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_about_the_environment_is_left_alone() {
        assert!(!has_one_thread(), "the tests' own");
        assert_eq!(take_variable(c"PATH"), None);
        assert!(std::env::var_os("PATH").is_some());
    }
}
