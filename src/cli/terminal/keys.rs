//! Single keys from the terminal, without showing them.

use std::io;
use std::sync::{Mutex, PoisonError};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;

use promptd_sys as sys;

/// How the terminal was before single keys were read.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Waits for keys, unseen on the terminal: one, or several that were pressed together. What was typed before the question does not answer it.
pub(crate) async fn key(keys: &mut Option<sys::Registered<io::Stdin>>) -> Vec<u8> {
    let Some(stdin) = keys.as_ref().filter(|_| listen()) else {
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
        // The terminal has gone; the question waits for somebody else.
        *keys = None;
        return std::future::pending().await;
    }
    bytes.truncate(count);
    // An arrow is none of the letters that it sends.
    if bytes.first() == Some(&b'\x1b') {
        bytes.clear();
    }
    bytes
}

/// Has the terminal give single keys, without showing them; whether it does. Ctrl-C stays what it is.
fn listen() -> bool {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if before.is_some() {
        return true;
    }
    let Ok(as_it_was) = tcgetattr(io::stdin()) else {
        return false;
    };
    let mut single = as_it_was.clone();
    single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    if tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &single).is_err() {
        return false;
    }
    *before = Some(as_it_was);
    true
}

/// Gives the terminal its own way of reading lines back.
pub(super) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that has gone needs nothing.
        let _restored = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}
