//! The activity line at the bottom of a terminal, and keys that answer questions.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cli::show::Show;
use crate::cli::terminal::{clip, draw, is_dumb, is_interactive, key, width};
use promptd_sys as sys;

const TICK: Duration = Duration::from_millis(100);
/// How long there is no output before the line is shown.
const SILENCE: Duration = Duration::from_millis(300);
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// The activity line, and the terminal's keys.
pub(crate) struct Activity {
    start: Instant,
    last_output: Instant,
    ticks: Option<Interval>,
    frame: usize,
    keys: Option<sys::Registered<io::Stdin>>,
}

impl Activity {
    /// Without a terminal there is neither a line nor a key.
    pub(crate) fn new(show: Option<&Show>) -> Self {
        let style = show.map(Show::style);
        let has_line = style.is_some_and(|style| style.terminal) && is_interactive() && !is_dumb();
        let ticks = has_line.then(|| {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        let keys = style
            .filter(|style| style.keys)
            .and_then(|_| sys::register_stdin().ok());
        Self {
            start: Instant::now(),
            last_output: Instant::now(),
            ticks,
            frame: 0,
            keys,
        }
    }

    /// Notes that something was printed.
    pub(crate) fn reset(&mut self) {
        self.last_output = Instant::now();
    }

    /// Waits for keys if there is a question, or until the line is to be drawn.
    pub(crate) async fn key_or_tick(&mut self, has_question: bool) -> Option<Vec<u8>> {
        let Self { ticks, keys, .. } = self;
        tokio::select! {
            key = key(keys), if has_question => Some(key),
            () = tick(ticks) => None,
        }
    }

    /// Draws the line.
    pub(crate) fn draw(&mut self, show: &Show) {
        let Some(activity) = show.activity().filter(|_| self.last_output.elapsed() >= SILENCE) else {
            return;
        };
        self.frame = self.frame.wrapping_add(1) % FRAMES.len();
        let frame = FRAMES.get(self.frame).copied().unwrap_or_default();
        let text = format!("{frame} {} s · {activity}", self.start.elapsed().as_secs());
        // A wrapped line could not be erased.
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
