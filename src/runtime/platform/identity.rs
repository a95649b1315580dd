//! Which sandbox this is: asked of the platform when it is first needed, and where it knows, once in each epoch.
//!
//! The witnesses, the most trustworthy first: the metadata service, which the hypervisor answers; the events host, which
//! knows a sandbox by its address; the `Host` of a request, `{port}-{id}.{domain}`; and a file, which may lag behind by
//! a moment after a resume. Where nothing says that this is E2B, nobody is asked: on other machines the metadata
//! service is somebody else's.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::ACCEPT;
use reqwest::{Client, redirect};
use serde::Deserialize;

use crate::runtime::settings::Platform;

/// How long a witness may take: they all live on this very machine, or next to it.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long it is believed that no witness knows: one that is only late is asked again.
const UNKNOWN: Duration = Duration::from_secs(10);

/// How often the witnesses are asked where one of them has known before: it will know again, and right after a resume a
/// question may be lost on its way.
const ROUNDS: u32 = 2;

/// The most that is read of an answer.
const MOST: usize = 64 << 10;

/// How long the metadata service's token is to be good, in seconds: for one question.
const TOKEN_SECONDS: &str = "60";

/// The longest id that is believed.
const MOST_ID: usize = 128;

/// Which sandbox this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The platform's id.
    pub id: String,
    /// Who said so.
    pub source: Witness,
}

/// Who knows which sandbox this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The hypervisor's metadata service.
    Metadata,
    /// The platform's events host.
    Events,
    /// The `Host` of a request.
    Host,
    /// The platform's file.
    File,
}

impl Witness {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "mmds",
            Self::Events => "events",
            Self::Host => "host",
            Self::File => "file",
        }
    }
}

/// What is known of the sandbox, each with the number of the epoch in which it was learned.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// What the witnesses that have to be asked said.
    asked: Mutex<Option<Asked>>,
    /// One asks, and the others wait for the answer.
    asking: tokio::sync::Mutex<()>,
    /// One of them has known it once.
    is_told: AtomicBool,
    /// The `Host` of the last request that had one.
    heard: Mutex<Option<Heard>>,
}

/// The id in a request's `Host`.
#[derive(Debug)]
struct Heard {
    epoch: u64,
    id: String,
    doubt: Option<Doubt>,
}

/// Somebody calls by another name, and no witness has said yet what that means.
#[derive(Debug)]
struct Doubt {
    /// Which sandbox this was known to be.
    before: String,
    /// When they were asked.
    asked: Instant,
}

/// The sandbox, where any of them knew it.
type Said = Option<Sandbox>;

#[derive(Debug)]
struct Asked {
    epoch: u64,
    when: Instant,
    said: Said,
}

impl Identity {
    /// Which sandbox this is; nothing where it is none, or nobody knows.
    pub(crate) async fn get(&self, platform: &Platform, epoch: u64) -> Option<Sandbox> {
        if !is_sandbox(platform) {
            return None;
        }
        let _asking = self.asking.lock().await;
        let said = match self.asked(epoch) {
            Some(said) => said,
            None => self.put(epoch, self.ask(platform).await),
        };
        said.or_else(|| self.without_asking(platform, epoch))
    }

    /// Asks again where it is known which sandbox this was, by an earlier answer or else as `heard`; whether it is another
    /// one now, or nothing where no witness answers. The answer is that of the epoch that follows.
    pub(crate) async fn has_changed(&self, platform: &Platform, epoch: u64, heard: Option<String>) -> Option<bool> {
        let _asking = self.asking.lock().await;
        let told = self.asked(epoch).flatten().map(|sandbox| sandbox.id);
        let Some(before) = told.or(heard) else {
            return Some(false);
        };
        let now = self.ask(platform).await?;
        let changed = now.id != before;
        if changed {
            self.put(epoch.wrapping_add(1), Some(now));
        } else if let Some(heard) = &mut *self.heard() {
            heard.doubt = None;
        }
        Some(changed)
    }

    /// Takes note of a request's `Host`; where it names another sandbox than was known, which that was. As long as nobody
    /// has answered what that means, it is told again now and then.
    pub(crate) fn hears(&self, host: &str, epoch: u64) -> Option<String> {
        self.hears_at(host, epoch, Instant::now())
    }

    fn hears_at(&self, host: &str, epoch: u64, now: Instant) -> Option<String> {
        let id = id_in(host)?;
        let mut heard = self.heard();
        let (last, doubt) = match heard.take().filter(|heard| heard.epoch == epoch) {
            Some(last) => (Some(last.id), last.doubt),
            None => (None, None),
        };
        let known = last.or_else(|| self.asked(epoch).flatten().map(|sandbox| sandbox.id));
        let other = known.filter(|known| known != id);
        let waits = |doubt: &Doubt| now.saturating_duration_since(doubt.asked) < UNKNOWN;
        let is_due = other.is_some() || doubt.as_ref().is_some_and(|doubt| !waits(doubt));
        let doubt = match doubt {
            Some(doubt) if is_due => Some(Doubt { asked: now, ..doubt }),
            Some(doubt) => Some(doubt),
            None => other.map(|before| Doubt { before, asked: now }),
        };
        let before = doubt.as_ref().filter(|_| is_due).map(|doubt| doubt.before.clone());
        let id = id.to_owned();
        *heard = Some(Heard { epoch, id, doubt });
        before
    }

    fn heard(&self) -> MutexGuard<'_, Option<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, platform: &Platform) -> Option<Sandbox> {
        let rounds = if self.is_told.load(Ordering::Relaxed) {
            ROUNDS
        } else {
            1
        };
        for _ in 0..rounds {
            if let Some(sandbox) = ask(platform).await {
                self.is_told.store(true, Ordering::Relaxed);
                return Some(sandbox);
            }
        }
        None
    }

    /// What they said, where they were asked and it still holds.
    fn asked(&self, epoch: u64) -> Option<Said> {
        self.asked_by(epoch, Instant::now())
    }

    fn asked_by(&self, epoch: u64, now: Instant) -> Option<Said> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |asked: &&Asked| {
            let fresh = now.saturating_duration_since(asked.when) < UNKNOWN;
            asked.epoch == epoch && (asked.said.is_some() || fresh)
        };
        asked.as_ref().filter(holds).map(|asked| asked.said.clone())
    }

    fn put(&self, epoch: u64, said: Said) -> Said {
        let when = Instant::now();
        let asked = Asked {
            epoch,
            when,
            said: said.clone(),
        };
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        said
    }

    fn without_asking(&self, platform: &Platform, epoch: u64) -> Option<Sandbox> {
        let heard = self.heard();
        let heard = heard.as_ref().filter(|heard| heard.epoch == epoch);
        let heard = heard.map(|heard| heard.id.clone());
        let sandbox = |source| move |id| Sandbox { id, source };
        heard
            .map(sandbox(Witness::Host))
            .or_else(|| in_file(&platform.folder).map(sandbox(Witness::File)))
    }
}

/// Whether anything says that this is a sandbox of the platform.
pub fn is_sandbox(platform: &Platform) -> bool {
    platform.told || platform.folder.join(".E2B_SANDBOX").exists()
}

async fn ask(platform: &Platform) -> Option<Sandbox> {
    let client = client()?;
    let metadata = tokio::time::timeout(PATIENCE, of_metadata(&client, &platform.metadata)).await;
    if let Ok(Some(id)) = metadata {
        let source = Witness::Metadata;
        return Some(Sandbox { id, source });
    }
    let events = tokio::time::timeout(PATIENCE, of_events(&client, &platform.events)).await;
    let source = Witness::Events;
    events.ok().flatten().map(|id| Sandbox { id, source })
}

/// A client for these questions only: its connections and names go with it.
fn client() -> Option<Client> {
    // Fails only where one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        // A proxy is for the world outside.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .tls_certs_only([]);
    builder.build().ok()
}

async fn of_metadata(client: &Client, address: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "instanceID")]
        instance: String,
    }
    let token = client
        .put(format!("{address}/latest/api/token"))
        .header("X-metadata-token-ttl-seconds", TOKEN_SECONDS);
    let token = body(token).await?;
    let metadata = client
        .get(format!("{address}/"))
        .header("X-metadata-token", token)
        .header(ACCEPT, "application/json");
    let metadata: Metadata = serde_json::from_slice(&body(metadata).await?).ok()?;
    believed(metadata.instance)
}

async fn of_events(client: &Client, address: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Me {
        #[serde(rename = "sandboxID")]
        sandbox: String,
    }
    let me: Me = serde_json::from_slice(&body(client.get(format!("{address}/me"))).await?).ok()?;
    believed(me.sandbox)
}

/// The body of a good answer.
async fn body(request: reqwest::RequestBuilder) -> Option<Vec<u8>> {
    let mut answer = request.send().await.ok()?.error_for_status().ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST {
            return None;
        }
    }
    Some(body)
}

fn in_file(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(".E2B_SANDBOX_ID")).ok()?;
    believed(text.trim().to_owned())
}

/// An id that may stand in headers, logs and messages.
fn believed(id: String) -> Option<String> {
    let sane = (1..=MOST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    sane.then_some(id)
}

/// The id in `{port}-{id}.{domain}`.
fn id_in(host: &str) -> Option<&str> {
    let (first, _domain) = host.split_once('.')?;
    let (port, id) = first.split_once('-')?;
    let port_is_one = port.parse::<u16>().is_ok();
    let id_is_one =
        (8..=MOST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (port_is_one && id_is_one).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_the_sandbox_only_where_it_has_the_platforms_form() {
        assert_eq!(id_in("8080-ixyz12345abcdefgh.e2b.app"), Some("ixyz12345abcdefgh"));
        for other in [
            "127.0.0.1:8080",
            "localhost",
            "my-host.example.com",
            "99999-ixyz12345abcdefgh.e2b.app",
            "8080-x.e2b.app",
            "8080-ixyz12345abcdefgh",
            "8080-ixyz%2e12345abcdefgh.e2b.app",
        ] {
            assert_eq!(id_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_host_that_changes_is_told_once() {
        let identity = Identity::default();
        assert!(
            identity.hears("8080-ixyz12345abcdefgh.e2b.app", 0).is_none(),
            "the first"
        );
        assert!(identity.hears("8080-ixyz12345abcdefgh.e2b.app", 0).is_none());
        assert!(identity.hears("localhost:8080", 0).is_none(), "says nothing");
        assert!(identity.hears("8080-iother1234abcdefgh.e2b.app", 0).is_some());
        assert!(identity.hears("8080-iother1234abcdefgh.e2b.app", 0).is_none());
        assert!(
            identity.hears("8080-ixyz12345abcdefgh.e2b.app", 1).is_none(),
            "another epoch"
        );
        let id = "ixyz12345abcdefgh".to_owned();
        let source = Witness::Metadata;
        identity.put(2, Some(Sandbox { id, source }));
        assert!(
            identity.hears("8080-ixyz12345abcdefgh.e2b.app", 2).is_none(),
            "as was told"
        );
        identity.put(
            3,
            Some(Sandbox {
                id: "another".to_owned(),
                source,
            }),
        );
        assert!(
            identity.hears("8080-ixyz12345abcdefgh.e2b.app", 3).is_some(),
            "not as was told"
        );
    }

    #[tokio::test]
    async fn a_host_that_changes_is_told_until_somebody_has_answered_what_it_means() {
        let platform = Platform {
            envd: String::new(),
            // Nobody listens there.
            metadata: "http://127.0.0.1:9".to_owned(),
            events: "http://127.0.0.1:9".to_owned(),
            folder: "/nonexistent".into(),
            told: true,
        };
        let (identity, begin) = (Identity::default(), Instant::now());
        let hears = |host: &str, after| identity.hears_at(host, 0, begin + after);
        let (parent, fork) = ("8080-iparent12345678.e2b.app", "8080-iforkfork12345678.e2b.app");
        let before = Some("iparent12345678".to_owned());
        assert_eq!(hears(parent, Duration::ZERO), None);
        assert_eq!(hears(fork, Duration::ZERO), before);
        assert_eq!(identity.has_changed(&platform, 0, before.clone()).await, None, "nobody");
        assert_eq!(hears(fork, UNKNOWN / 2), None, "not each time");
        assert_eq!(hears(fork, UNKNOWN), before);
        assert_eq!(hears(fork, UNKNOWN), None);
        assert_eq!(hears(fork, UNKNOWN * 2), before);
    }

    #[test]
    fn that_nobody_knows_is_believed_for_a_moment_only() {
        let identity = Identity::default();
        identity.put(0, None);
        let now = Instant::now();
        assert_eq!(identity.asked_by(0, now), Some(None));
        assert_eq!(identity.asked_by(0, now + UNKNOWN), None, "asked again");
        let sandbox = Sandbox {
            id: "ixyz12345abcdefgh".to_owned(),
            source: Witness::Metadata,
        };
        identity.put(0, Some(sandbox.clone()));
        assert_eq!(identity.asked_by(0, now + UNKNOWN * 9), Some(Some(sandbox)));
    }

    #[tokio::test]
    async fn elsewhere_nobody_is_asked() {
        let platform = Platform {
            envd: String::new(),
            // Would be refused, which is not what this is about: it is not even tried.
            metadata: "http://127.0.0.1:9".to_owned(),
            events: "http://127.0.0.1:9".to_owned(),
            folder: "/nonexistent".into(),
            told: false,
        };
        let identity = Identity::default();
        identity.hears("8080-ixyz12345abcdefgh.e2b.app", 0);
        assert_eq!(identity.get(&platform, 0).await, None);
        let told = Platform { told: true, ..platform };
        let known = identity.get(&told, 0).await.map(|sandbox| sandbox.source);
        assert_eq!(known, Some(Witness::Host));
    }
}
