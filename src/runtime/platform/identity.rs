//! Which sandbox this is: asked of the platform when it is first needed, once in each epoch.
//!
//! Where the platform's services do not answer, the `Host` of the last request names the sandbox, else the platform's
//! file. Where nothing says that this is E2B, nobody is asked: on other machines the metadata service belongs to
//! somebody else.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::runtime::platform::sandbox_sources::{
    Sandbox, SandboxSource, ask_services, id_in_host, is_sandbox, read_file,
};
use crate::runtime::settings::Platform;

/// After this long without an answer the services are asked again: one may only be late.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How often the services are asked where one has answered before: right after a resume a question may be lost.
const ROUNDS: u32 = 2;

/// What is known of the sandbox.
#[derive(Debug)]
pub(crate) struct Identity {
    state: Mutex<State>,
    /// One caller asks, the others wait for its answer.
    asking: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    /// A service has answered once.
    has_answered: bool,
    host: Option<Host>,
}

/// The services' last answer.
#[derive(Clone, Debug)]
struct Answer {
    epoch: u64,
    at: Instant,
    sandbox: Option<Sandbox>,
}

/// What requests of this epoch called us.
#[derive(Debug)]
struct Host {
    epoch: u64,
    /// The id in the last `Host`.
    id: String,
    /// This sandbox's id by the platform's answer, else by the first `Host`.
    known: String,
    /// When a difference was reported last.
    reported: Option<Instant>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            asking: Semaphore::new(1),
        }
    }
}

impl Identity {
    /// Which sandbox this is; `None` where it is none, or nothing names it.
    pub(crate) async fn get(&self, platform: &Platform, epoch: u64) -> Option<Sandbox> {
        if !is_sandbox(platform) {
            return None;
        }
        let _asking = self.asking.acquire().await.ok();
        let asked = self.state().last_answer(epoch, Instant::now()).cloned();
        let answer = if let Some(answer) = asked {
            answer.sandbox
        } else {
            let sandbox = self.ask(platform).await;
            self.state().put(epoch, sandbox.clone());
            sandbox
        };
        let of_host = || self.state().of_host(epoch);
        answer.or_else(of_host).or_else(|| read_file(&platform.folder))
    }

    /// Asks again, and compares with the last answer or else with `expected`: whether this is another sandbox now;
    /// `None` where no service answers. The new answer counts for the epoch that follows.
    pub(crate) async fn has_changed(&self, platform: &Platform, epoch: u64, expected: Option<String>) -> Option<bool> {
        let _asking = self.asking.acquire().await.ok();
        let known = self.state().known_id(epoch, Instant::now());
        let Some(before) = known.or(expected) else {
            return Some(false);
        };
        let now = self.ask(platform).await?;
        let changed = now.id != before;
        let mut state = self.state();
        if changed {
            state.put(epoch.wrapping_add(1), Some(now));
        } else if let Some(host) = &mut state.host {
            // Another name of the same sandbox.
            host.known.clone_from(&host.id);
            host.reported = None;
        }
        Some(changed)
    }

    /// Takes note of a request's `Host`. Returns the id that was known before where this one differs, now and then until
    /// it is clear what that means.
    pub(crate) fn note_host(&self, host: &str, epoch: u64) -> Option<String> {
        self.note_host_at(host, epoch, Instant::now())
    }

    fn note_host_at(&self, host: &str, epoch: u64, now: Instant) -> Option<String> {
        let id = id_in_host(host)?;
        let mut state = self.state();
        if state.host.as_ref().is_none_or(|host| host.epoch != epoch) {
            let known = state.known_id(epoch, now);
            state.host = Some(Host {
                epoch,
                id: id.to_owned(),
                known: known.unwrap_or_else(|| id.to_owned()),
                reported: None,
            });
        }
        let host = state.host.as_mut()?;
        id.clone_into(&mut host.id);
        let waits = host
            .reported
            .is_some_and(|at| now.saturating_duration_since(at) < ASK_AGAIN);
        if host.known == id || waits {
            return None;
        }
        host.reported = Some(now);
        Some(host.known.clone())
    }

    async fn ask(&self, platform: &Platform) -> Option<Sandbox> {
        let rounds = if self.state().has_answered { ROUNDS } else { 1 };
        for _ in 0..rounds {
            if let Some(sandbox) = ask_services(platform).await {
                self.state().has_answered = true;
                return Some(sandbox);
            }
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The last answer, where it still holds: that nobody answered holds for a moment only.
    fn last_answer(&self, epoch: u64, now: Instant) -> Option<&Answer> {
        self.answer.as_ref().filter(|answer| {
            let is_fresh = now.saturating_duration_since(answer.at) < ASK_AGAIN;
            answer.epoch == epoch && (answer.sandbox.is_some() || is_fresh)
        })
    }

    /// The id in that answer.
    fn known_id(&self, epoch: u64, now: Instant) -> Option<String> {
        let sandbox = self.last_answer(epoch, now)?.sandbox.as_ref();
        sandbox.map(|sandbox| sandbox.id.clone())
    }

    fn put(&mut self, epoch: u64, sandbox: Option<Sandbox>) {
        let at = Instant::now();
        self.answer = Some(Answer { epoch, at, sandbox });
    }

    fn of_host(&self, epoch: u64) -> Option<Sandbox> {
        let host = self.host.as_ref().filter(|host| host.epoch == epoch)?;
        let (id, source) = (host.id.clone(), SandboxSource::Host);
        Some(Sandbox { id, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "8080-iparent12345678.e2b.app";
    const FORK: &str = "8080-iforkfork12345678.e2b.app";

    fn sandbox(id: &str) -> Sandbox {
        let (id, source) = (id.to_owned(), SandboxSource::Metadata);
        Sandbox { id, source }
    }

    /// Services where nobody listens.
    fn platform(is_e2b: bool) -> Platform {
        Platform {
            envd: String::new(),
            metadata: "http://127.0.0.1:9".to_owned(),
            events: "http://127.0.0.1:9".to_owned(),
            folder: "/nonexistent".into(),
            is_e2b,
        }
    }

    #[test]
    fn a_host_that_differs_is_reported_once() {
        let identity = Identity::default();
        for (host, epoch, reported, why) in [
            (PARENT, 0, false, "the first"),
            (PARENT, 0, false, "the same"),
            ("localhost:8080", 0, false, "names no sandbox"),
            (FORK, 0, true, "differs"),
            (FORK, 0, false, "was reported"),
            (PARENT, 1, false, "another epoch"),
        ] {
            assert_eq!(identity.note_host(host, epoch).is_some(), reported, "{why}");
        }
        identity.state().put(2, Some(sandbox("iparent12345678")));
        assert!(identity.note_host(PARENT, 2).is_none(), "as the platform answered");
        identity.state().put(3, Some(sandbox("another")));
        assert!(identity.note_host(PARENT, 3).is_some(), "not as the platform answered");
    }

    #[tokio::test]
    async fn a_host_that_differs_is_reported_again_until_a_service_answers() {
        let (identity, begin) = (Identity::default(), Instant::now());
        let note = |host: &str, after| identity.note_host_at(host, 0, begin + after);
        let before = Some("iparent12345678".to_owned());
        assert_eq!(note(PARENT, Duration::ZERO), None);
        assert_eq!(note(FORK, Duration::ZERO), before);
        let changed = identity.has_changed(&platform(true), 0, before.clone()).await;
        assert_eq!(changed, None, "nobody answers");
        assert_eq!(note(FORK, ASK_AGAIN / 2), None, "not each time");
        assert_eq!(note(FORK, ASK_AGAIN), before);
        assert_eq!(note(FORK, ASK_AGAIN), None);
        assert_eq!(note(FORK, ASK_AGAIN * 2), before);
    }

    #[test]
    fn a_missing_answer_holds_for_a_moment_only() {
        let mut state = State::default();
        state.put(0, None);
        let now = Instant::now();
        assert!(state.last_answer(0, now).is_some());
        assert!(state.last_answer(0, now + ASK_AGAIN).is_none(), "asked again");
        state.put(0, Some(sandbox("ixyz12345abcdefgh")));
        let known = state.known_id(0, now + ASK_AGAIN * 9);
        assert_eq!(known.as_deref(), Some("ixyz12345abcdefgh"));
    }

    #[tokio::test]
    async fn outside_of_the_platform_nobody_is_asked() {
        let identity = Identity::default();
        identity.note_host(PARENT, 0);
        assert_eq!(identity.get(&platform(false), 0).await, None);
        let known = identity.get(&platform(true), 0).await.map(|sandbox| sandbox.source);
        assert_eq!(known, Some(SandboxSource::Host));
    }
}
