//! The dialog with `codex app-server`, as seen with 0.169.0: one turn, and the answers to its questions.
//!
//! With `approvalPolicy: untrusted`, codex asks before every command that is not on its list of harmless ones, and before
//! every edit. `sandbox` is `danger-full-access`, because an allowed command is allowed in full: the sandbox is the
//! machine.

mod approvals;
mod driver;

pub(crate) use driver::new;
