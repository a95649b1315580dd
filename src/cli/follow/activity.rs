//! The last line of a terminal while a session is followed, and the keys that answer a question.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cli::show::Show;
use crate::cli::terminal::{clip, draw, is_dumb, is_read, key, width};
use promptd_sys as sys;

const TICK: Duration = Duration::from_millis(100);
/// How long nothing is printed before the line comes.
const SILENCE: Duration = Duration::from_millis(300);
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// What a terminal shows and tells while a session is followed.
pub(crate) struct Watch {
    begun: Instant,
    quiet_since: Instant,
    ticks: Option<Interval>,
    frame: usize,
    keys: Option<sys::Registered<io::Stdin>>,
}

impl Watch {
    /// Of what is shown; without a person there is neither a timer nor a key.
    pub(crate) fn of(show: Option<&Show>) -> Self {
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
    pub(crate) fn printed(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Waits for keys, where something is asked, or until the line is due; for ever where there is neither.
    pub(crate) async fn key_or_tick(&mut self, asked: bool) -> Option<Vec<u8>> {
        let Self { ticks, keys, .. } = self;
        tokio::select! {
            key = key(keys), if asked => Some(key),
            () = tick(ticks) => None,
        }
    }

    /// Draws the line anew.
    pub(crate) fn draw(&mut self, show: &Show) {
        let Some(activity) = show.activity().filter(|_| self.quiet_since.elapsed() >= SILENCE) else {
            return;
        };
        self.frame = self.frame.wrapping_add(1) % FRAMES.len();
        let frame = FRAMES.get(self.frame).copied().unwrap_or_default();
        let text = format!("{frame} {} s · {activity}", self.begun.elapsed().as_secs());
        // A line that wraps could not be erased.
        let text = clip(&text, width().saturating_sub(1));
        draw(&text);
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => _ = ticks.tick().await,
        None => std::future::pending().await,
    }
}
