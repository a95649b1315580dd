//! The terminal that a person sits at: colours, width, keys, and a line that shows that something happens.
//!
//! All of it is given back when this process ends: [`leave`] is for those ways that run no destructor.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, read, tcgetpgrp};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::show::{Show, clip};
use promptd_sys as sys;

/// How wide a terminal is that does not say so, and a line of a pipe.
const WIDTH: usize = 80;
/// The narrowest that is written for.
const NARROWEST: usize = 20;

const TICK: Duration = Duration::from_millis(100);
/// How long nothing is printed before the line comes.
const SILENCE: Duration = Duration::from_millis(300);
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const ERASE: &[u8] = b"\r\x1b[K";

/// The last line of the terminal is ours, to be erased before anything else is written.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// What was written last did not end its line.
static OPEN: AtomicBool = AtomicBool::new(false);

/// How the terminal was before single keys were read.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set or it is a dumb one.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    /// Whether what goes to a terminal, or to none, has colours (<https://no-color.org>).
    pub(super) fn on(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal && !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// A person reads what we write.
pub(super) fn is_read() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// A person can press a key, and we are the ones who get it: a job in the background would be stopped for asking.
pub(super) fn has_keys() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && is_read() && tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}

/// How many characters a line has room for.
pub(super) fn width() -> usize {
    let size = if is_read() {
        terminal_size::terminal_size()
    } else {
        None
    };
    size.map_or(WIDTH, |(width, _)| usize::from(width.0)).max(NARROWEST)
}

/// Takes our line away; whoever writes to the terminal calls it before.
pub(super) fn erase() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        // Nobody is there to be told when the terminal has gone.
        let _written = io::stdout().write_all(ERASE).and_then(|()| io::stdout().flush());
    }
}

/// Notes where the cursor stands behind what was written.
pub(super) fn wrote(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        OPEN.store(*last != b'\n', Ordering::Relaxed);
    }
}

/// What is written next stands on a line of its own, for a person.
pub(super) fn begin_line() {
    erase();
    if OPEN.swap(false, Ordering::Relaxed) && is_read() {
        // As above.
        let _written = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
    }
}

/// Gives the terminal back as it was.
pub(super) fn leave() {
    erase();
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that has gone needs nothing.
        let _restored = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}

/// What a terminal shows and tells while a session is followed.
pub(super) struct Watch {
    begun: Instant,
    quiet_since: Instant,
    ticks: Option<Interval>,
    frame: usize,
    keys: Option<sys::Registered<io::Stdin>>,
}

impl Watch {
    /// Of what is shown; without a person there is neither a timer nor a key.
    pub(super) fn of(show: Option<&Show>) -> Self {
        let style = show.map(Show::style);
        let spins = style.is_some_and(|style| style.terminal) && is_read() && !is_dumb();
        let ticks = spins.then(|| {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        let keys = style
            .filter(|style| style.keys)
            .and_then(|_| sys::register_stdin().ok());
        Self {
            begun: Instant::now(),
            quiet_since: Instant::now(),
            ticks,
            frame: 0,
            keys,
        }
    }

    /// Something has been printed.
    pub(super) fn printed(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Waits for keys, where something is asked, or until the line is due; for ever where there is neither.
    pub(super) async fn key_or_tick(&mut self, asked: bool) -> Option<Vec<u8>> {
        let Self { ticks, keys, .. } = self;
        tokio::select! {
            key = key(keys), if asked => Some(key),
            () = tick(ticks) => None,
        }
    }

    /// Draws the line anew.
    pub(super) fn draw(&mut self, show: &Show) {
        let Some(activity) = show.activity().filter(|_| self.quiet_since.elapsed() >= SILENCE) else {
            return;
        };
        self.frame = self.frame.wrapping_add(1) % FRAMES.len();
        let frame = FRAMES.get(self.frame).copied().unwrap_or_default();
        let text = format!("{frame} {} s · {activity}", self.begun.elapsed().as_secs());
        // A line that wraps could not be erased.
        let text = clip(&text, width().saturating_sub(1));
        DRAWN.store(true, Ordering::Relaxed);
        // The next write tells when the terminal has gone.
        let _written = write!(io::stdout(), "\r\x1b[K{text}").and_then(|()| io::stdout().flush());
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => _ = ticks.tick().await,
        None => std::future::pending().await,
    }
}

/// Waits for keys, unseen on the terminal: one, or several that were pressed together. What was typed before the question does not answer it.
async fn key(keys: &mut Option<sys::Registered<io::Stdin>>) -> Vec<u8> {
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
