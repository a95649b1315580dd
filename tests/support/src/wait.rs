//! Waiting for a condition: the one place where tests poll.
//!
//! A wait fails when nothing has changed for [`PATIENCE`], and says what it waited for and what it saw last. Where the
//! state goes on changing, it may take longer: a busy machine is slow, and does not hang.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long nothing may change while a test waits; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// However much changes, it is over after so many times [`PATIENCE`].
const AT_MOST: u32 = 9;

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// What a look at the condition may give: done with a value, or what it was like instead.
pub trait Condition {
    type Value;

    /// The value, or the state that is not the wanted one.
    fn done(self) -> Result<Self::Value, String>;
}

/// Only that it is so.
impl Condition for bool {
    type Value = ();

    fn done(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("not yet".to_owned()) }
    }
}

/// A value when it is there.
impl<T> Condition for Option<T> {
    type Value = T;

    fn done(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

/// A value, or what is there instead.
impl<T, E: Debug> Condition for Result<T, E> {
    type Value = T;

    fn done(self) -> Result<T, String> {
        self.map_err(|state| format!("{state:?}"))
    }
}

/// One wait: what for, how long, what was seen last.
pub struct Wait<'a> {
    what: &'a str,
    patience: Duration,
    begun: Instant,
    changed: Instant,
    last: String,
}

impl<'a> Wait<'a> {
    pub fn new(what: &'a str) -> Self {
        Self::with_patience(what, PATIENCE)
    }

    /// For what takes its time without a change to be seen.
    pub fn with_patience(what: &'a str, patience: Duration) -> Self {
        let now = Instant::now();
        Self {
            what,
            patience,
            begun: now,
            changed: now,
            last: String::new(),
        }
    }

    /// Notes what was seen; fails when that has not changed for too long.
    pub fn look<S: Condition>(&mut self, seen: S) -> Option<S::Value> {
        let state = match seen.done() {
            Ok(value) => return Some(value),
            Err(state) => state,
        };
        let now = Instant::now();
        if state != self.last {
            (self.last, self.changed) = (state, now);
        }
        let (waited, still) = (now - self.begun, now - self.changed);
        assert!(
            still < self.patience && waited < self.patience * AT_MOST,
            "waited {:.0} s for {}; the last state seen: {}",
            waited.as_secs_f64(),
            self.what,
            self.last
        );
        None
    }

    /// Until the next look.
    pub async fn pause(&self) {
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until a condition holds; answers with the value that it gives.
pub async fn wait_until<S: Condition>(what: &str, condition: impl FnMut() -> S) -> S::Value {
    wait_until_within(PATIENCE, what, condition).await
}

/// The same with more patience, where what is waited for takes its time by design.
pub async fn wait_until_within<S: Condition>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> S,
) -> S::Value {
    let mut wait = Wait::with_patience(what, patience);
    loop {
        if let Some(value) = wait.look(condition()) {
            return value;
        }
        wait.pause().await;
    }
}

/// The same for a condition that has to be asked for.
pub async fn wait_for<S: Condition>(what: &str, condition: impl AsyncFnMut() -> S) -> S::Value {
    wait_in(Wait::new(what), condition).await
}

/// The same with a wait of one's own.
pub(crate) async fn wait_in<S: Condition>(mut wait: Wait<'_>, mut condition: impl AsyncFnMut() -> S) -> S::Value {
    loop {
        if let Some(value) = wait.look(condition().await) {
            return value;
        }
        wait.pause().await;
    }
}

/// The same in a test without a runtime.
pub fn wait_until_blocking<S: Condition>(what: &str, mut condition: impl FnMut() -> S) -> S::Value {
    let mut wait = Wait::new(what);
    loop {
        if let Some(value) = wait.look(condition()) {
            return value;
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Lets time pass where time itself is what a test is about, or where nothing may happen meanwhile. The reason says which.
pub async fn let_pass(time: Duration, reason: &str) {
    assert!(!reason.is_empty());
    tokio::time::sleep(time).await;
}

/// Fails where something takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, work).await;
    result.unwrap_or_else(|_| panic!("waited {} s for {what}", PATIENCE.as_secs()))
}
