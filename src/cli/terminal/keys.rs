//! Reads single keys from the terminal, without echo.

use std::io;
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;

use promptd_sys as sys;

/// The terminal's settings before [`key`] changed them.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Waits for one or more keys. Discards what was typed before the first call.
pub(crate) async fn key(keys: &mut Option<sys::Registered<io::Stdin>>) -> Vec<u8> {
    let Some(stdin) = keys.as_ref().filter(|_| enable()) else {
        return std::future::pending().await;
    };
    let mut bytes = vec![0; 64];
    let pressed = match stdin.readable().await {
        Ok(mut ready) => {
            let pressed = read(io::stdin(), &mut bytes);
            ready.clear_ready();
            pressed
        }
        Err(_) => Ok(0),
    };
    let count = pressed.unwrap_or(0);
    if count == 0 {
        // The terminal is gone.
        *keys = None;
        return std::future::pending().await;
    }
    bytes.truncate(count);
    // An escape sequence, such as an arrow key.
    if bytes.first() == Some(&b'\x1b') {
        bytes.clear();
    }
    bytes
}

/// Switches the terminal to single keys without echo; returns whether it did. Ctrl-C still sends its signal.
fn enable() -> bool {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if before.is_some() {
        return true;
    }
    let Ok(original) = tcgetattr(io::stdin()) else {
        return false;
    };
    let mut single = original.clone();
    single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    if tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &single).is_err() {
        return false;
    }
    *before = Some(original);
    true
}

/// Restores the terminal's settings.
pub(super) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // If the terminal is gone, there is nothing to restore.
        let _restored = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}
