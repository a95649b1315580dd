//! The state of the terminal: its width, whether a line is open, and a last line that can be erased.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{getpgrp, tcgetpgrp};

use super::keys;

/// The width of a terminal that does not report one, and of a pipe.
const DEFAULT_WIDTH: usize = 80;
const MIN_WIDTH: usize = 20;

const ERASE: &[u8] = b"\r\x1b[K";

/// The last line was drawn by [`draw`] and must be erased before other output.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// The last output did not end its line.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Whether a person sees the output.
pub(crate) fn is_interactive() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Whether this process can read keys. A background job would be stopped if it did.
pub(crate) fn has_keys() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && is_interactive() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

/// The number of columns.
pub(crate) fn width() -> usize {
    let size = if is_interactive() {
        terminal_size::terminal_size()
    } else {
        None
    };
    size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
        .max(MIN_WIDTH)
}

/// Draws a line that [`erase`] removes.
pub(crate) fn draw(text: &str) {
    DRAWN.store(true, Ordering::Relaxed);
    // If the terminal is gone, the next write reports it.
    let _written = write!(io::stdout(), "\r\x1b[K{text}").and_then(|()| io::stdout().flush());
}

/// Removes the drawn line. Must be called before other output.
pub(crate) fn erase() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        // If the terminal is gone, there is nothing to erase.
        let _written = io::stdout().write_all(ERASE).and_then(|()| io::stdout().flush());
    }
}

/// Notes whether the output ended its line.
pub(crate) fn note_output(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        OPEN.store(*last != b'\n', Ordering::Relaxed);
    }
}

/// Starts a new line on a terminal, unless the cursor is at one.
pub(crate) fn begin_line() {
    erase();
    if OPEN.swap(false, Ordering::Relaxed) && is_interactive() {
        // As above.
        let _written = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
    }
}

/// Restores the terminal. Also for exits that run no destructor.
pub(crate) fn leave() {
    erase();
    keys::restore();
}

/// Ends this process now. Agents keep running; another process takes over a hosted server.
#[expect(
    clippy::exit,
    reason = "the user or the supervisor has asked for it more than once; nothing has to be cleaned up"
)]
pub(crate) fn quit(code: u8) -> ! {
    leave();
    std::process::exit(code.into())
}
