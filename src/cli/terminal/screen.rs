//! What a terminal shows: how wide it is, where its cursor stands, and a last line that can be erased.
//!
//! [`leave`] gives it back as it was, for those ways to end that run no destructor.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::{getpgrp, tcgetpgrp};

use super::keys;

/// How wide a terminal is that does not say so, and a line of a pipe.
const WIDTH: usize = 80;
/// The narrowest that is written for.
const NARROWEST: usize = 20;

const ERASE: &[u8] = b"\r\x1b[K";

/// The last line of the terminal is ours, to be erased before anything else is written.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// What was written last did not end its line.
static OPEN: AtomicBool = AtomicBool::new(false);

/// A person reads what we write.
pub(crate) fn is_read() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// A person can press a key, and we are the ones who get it: a job in the background would be stopped for asking.
pub(crate) fn has_keys() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && is_read() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

/// How many characters a line has room for.
pub(crate) fn width() -> usize {
    let size = if is_read() {
        terminal_size::terminal_size()
    } else {
        None
    };
    size.map_or(WIDTH, |(width, _)| usize::from(width.0)).max(NARROWEST)
}

/// Draws the line that [`erase`] takes away.
pub(crate) fn draw(text: &str) {
    DRAWN.store(true, Ordering::Relaxed);
    // The next write tells when the terminal has gone.
    let _written = write!(io::stdout(), "\r\x1b[K{text}").and_then(|()| io::stdout().flush());
}

/// Takes our line away; whoever writes to the terminal calls it before.
pub(crate) fn erase() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        // Nobody is there to be told when the terminal has gone.
        let _written = io::stdout().write_all(ERASE).and_then(|()| io::stdout().flush());
    }
}

/// Notes where the cursor stands behind what was written.
pub(crate) fn wrote(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        OPEN.store(*last != b'\n', Ordering::Relaxed);
    }
}

/// What is written next stands on a line of its own, for a person.
pub(crate) fn begin_line() {
    erase();
    if OPEN.swap(false, Ordering::Relaxed) && is_read() {
        // As above.
        let _written = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
    }
}

/// Gives the terminal back as it was.
pub(crate) fn leave() {
    erase();
    keys::restore();
}

/// Ends this process now; agents go on, and whatever we hosted is taken over.
#[expect(
    clippy::exit,
    reason = "the user has said so three times, or the supervisor twice; nothing here needs to be put in order first"
)]
pub(crate) fn quit(code: u8) -> ! {
    leave();
    std::process::exit(code.into())
}
