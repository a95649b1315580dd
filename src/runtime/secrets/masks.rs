//! The maskers of the server and of its sessions.
//!
//! An automaton takes time to build and memory to keep, so all readers of a session share one, and so do sessions
//! with the same secrets. Only the last few are kept when nobody reads: thousands of sessions do not keep thousands of
//! automata.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::runtime::access::configure::Access;
use crate::runtime::access::token::Token;
use crate::runtime::access::variables::Variables;
use crate::runtime::sdk::{Sdk, SdkStore};
use crate::runtime::secrets::known;
use crate::runtime::secrets::session_masker::Sources;
use crate::runtime::session::handle::Session;
use crate::runtime::settings::{Settings, SettingsStore};
use promptd_mask::{Masker, Secrets};
use promptd_model::SessionRequest;

/// How many automata are kept though nobody uses them: enough for those who ask again and again.
const KEPT: usize = 16;

/// Files with secrets are looked at no more often than this for readers: many thousand pieces come in a second.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// All maskers of the server.
#[derive(Debug)]
pub(crate) struct Masks {
    settings: Arc<SettingsStore>,
    access: Arc<Access>,
    sdk: Arc<SdkStore>,
    state: Mutex<State>,
    /// Changes with the server's secrets.
    generation: AtomicU64,
    created: Instant,
    /// When the files were last looked at, in milliseconds after the creation.
    checked: AtomicU64,
    log: watch::Sender<Option<Arc<Masker>>>,
}

#[derive(Debug, Default)]
struct State {
    server: Option<ServerSecrets>,
    /// The automata that were asked for last, the newest at the end.
    kept: VecDeque<(Secrets, Arc<Masker>)>,
}

/// The server's own secrets, and what they were gathered from.
#[derive(Clone, Debug)]
struct ServerSecrets {
    sources: ServerSources,
    secrets: Arc<Secrets>,
    masker: Option<Arc<Masker>>,
}

/// Compared by identity.
#[derive(Clone, Debug)]
struct ServerSources {
    settings: Arc<Settings>,
    tokens: Arc<[Token]>,
    former_tokens: Arc<[Token]>,
    variables: Arc<Variables>,
    sdk: Arc<Sdk>,
}

impl ServerSources {
    fn are_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings)
            && Arc::ptr_eq(&self.tokens, &other.tokens)
            && Arc::ptr_eq(&self.former_tokens, &other.former_tokens)
            && Arc::ptr_eq(&self.variables, &other.variables)
            && Arc::ptr_eq(&self.sdk, &other.sdk)
    }
}

/// The masker of the server's own secrets, for the log, which cannot wait for another to be built.
#[derive(Clone, Debug)]
pub struct ServerMask(watch::Receiver<Option<Arc<Masker>>>);

impl ServerMask {
    /// The masker that was built last.
    pub fn get(&self) -> Option<Arc<Masker>> {
        self.0.borrow().clone()
    }
}

/// How often the server's secrets are gathered while they change.
const GATHERINGS: usize = 3;

impl Masks {
    pub(crate) fn new(settings: Arc<SettingsStore>, access: Arc<Access>, sdk: Arc<SdkStore>) -> Self {
        Self {
            settings,
            access,
            sdk,
            state: Mutex::default(),
            generation: AtomicU64::new(0),
            created: Instant::now(),
            checked: AtomicU64::new(0),
            log: watch::Sender::new(None),
        }
    }

    /// A number that changes whenever [`Masks::of_session`] may give another masker. What promptd itself changes or uses
    /// counts at once; a file that somebody else changed, after a moment. Costs two loads.
    pub(crate) fn generation(&self, session: &Session) -> (u64, u64) {
        let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        let checked = self.checked.load(Ordering::Relaxed);
        let interval = u64::try_from(CHECK_INTERVAL.as_millis()).unwrap_or(0);
        let take = || {
            let taken = self
                .checked
                .compare_exchange(checked, now, Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok()
        };
        if now >= checked.saturating_add(interval) && take() {
            self.refresh_server();
        }
        (self.generation.load(Ordering::Acquire), session.secrets_generation())
    }

    /// What hides the secrets in all output of a session; `None` where nothing is to be hidden.
    pub(crate) fn of_session(&self, session: &Session) -> Option<Arc<Masker>> {
        if session.request().mask == Some(false) {
            return None;
        }
        let server = self.server_secrets();
        let sources = Sources {
            server: Arc::clone(&server.secrets),
            files: session.file_secrets.get(),
            sinks: session.own_sinks.get(),
        };
        if let Some(masker) = session.masker.get(&sources) {
            return Some(masker);
        }
        let mut secrets = Secrets::clone(&server.secrets);
        let variables = &server.sources.variables;
        known::add_request(session.request(), &sources.sinks, variables, &mut secrets);
        secrets.extend(&sources.files);
        let masker = self.masker(&server, secrets)?;
        session.masker.put(sources, &masker);
        Some(masker)
    }

    /// The same for a refused request, of which there is no session.
    pub(crate) fn of_request(&self, request: &SessionRequest) -> Option<Arc<Masker>> {
        if request.mask == Some(false) {
            return None;
        }
        let server = self.server_secrets();
        let mut secrets = Secrets::clone(&server.secrets);
        known::add_request(request, &request.sinks, &server.sources.variables, &mut secrets);
        self.masker(&server, secrets)
    }

    /// What hides the server's own secrets: those of its environment and configuration, and its tokens.
    pub(crate) fn of_server(&self) -> Option<Arc<Masker>> {
        self.server_secrets().masker
    }

    /// Gathers the server's secrets anew, so that the log hides those that have been added.
    pub(crate) fn refresh_server(&self) {
        self.server_secrets();
    }

    /// The server's masker for the log.
    pub(crate) fn of_log(&self) -> ServerMask {
        self.refresh_server();
        ServerMask(self.log.subscribe())
    }

    fn server_secrets(&self) -> ServerSecrets {
        let mut gathered = None;
        for _ in 0..GATHERINGS {
            let sources = self.server_sources();
            let is_current = |server: &&ServerSecrets| server.sources.are_same(&sources);
            if let Some(server) = self.state().server.as_ref().filter(is_current) {
                return server.clone();
            }
            // Checked once more afterwards: of two callers, the one with older sources may be the last to write.
            let server = ServerSecrets::gather(sources);
            let mut state = self.state();
            self.log.send_replace(server.masker.clone());
            state.server = Some(server.clone());
            self.generation.fetch_add(1, Ordering::Release);
            gathered = Some(server);
        }
        // They change all the time. The last ones are as new as any.
        gathered.unwrap_or_else(|| ServerSecrets::gather(self.server_sources()))
    }

    fn server_sources(&self) -> ServerSources {
        ServerSources {
            settings: self.settings.get(),
            tokens: self.access.tokens(),
            former_tokens: self.access.former_tokens(),
            variables: self.access.variables(),
            sdk: self.sdk.get(),
        }
    }

    /// The masker of these secrets: the server's own, one that is kept, or a new one.
    fn masker(&self, server: &ServerSecrets, secrets: Secrets) -> Option<Arc<Masker>> {
        if secrets == *server.secrets {
            return server.masker.clone();
        }
        if let Some(masker) = self.state().kept(&secrets) {
            return Some(masker);
        }
        let masker = Arc::new(Masker::new(&secrets)?);
        let mut state = self.state();
        // Somebody else may have built it meanwhile.
        if let Some(masker) = state.kept(&secrets) {
            return Some(masker);
        }
        state.kept.push_back((secrets, Arc::clone(&masker)));
        if state.kept.len() > KEPT {
            state.kept.pop_front();
        }
        Some(masker)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept(&mut self, secrets: &Secrets) -> Option<Arc<Masker>> {
        let position = self.kept.iter().position(|(known, _)| known == secrets)?;
        let last = self.kept.remove(position)?;
        let masker = Arc::clone(&last.1);
        self.kept.push_back(last);
        Some(masker)
    }
}

impl ServerSecrets {
    fn gather(sources: ServerSources) -> Self {
        let tokens = sources.tokens.iter().chain(sources.former_tokens.iter());
        let mut secrets = known::of_server(&sources.settings, tokens, &sources.variables);
        let sdk = sources.sdk.config.request();
        known::add_request(&sdk, &[], &sources.variables, &mut secrets);
        secrets.extend(&sources.sdk.replaced);
        let masker = Masker::new(&secrets).map(Arc::new);
        Self {
            sources,
            secrets: Arc::new(secrets),
            masker,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::runtime::config;
    use crate::runtime::session::store::SessionFile;
    use promptd_model::SinkRequest;

    fn masks() -> Masks {
        let flags = config::Flags {
            home: Some("/nonexistent".into()),
            workspace: Some("/nonexistent".into()),
            ..config::Flags::default()
        };
        let file = "[agents.mine]\ncommand = [\"cat\"]\nenv = { MY_TOKEN = \"configured\" }\n";
        let environment = [("PROMPTD_TOKEN".to_owned(), "opens-the-door".to_owned())].into();
        let settings = config::settings(flags, &environment, Some(file)).unwrap();
        let (access, sdk) = (Access::new(&settings), SdkStore::new(&settings.home));
        Masks::new(Arc::new(SettingsStore::new(settings)), Arc::new(access), Arc::new(sdk))
    }

    fn request(value: &str) -> SessionRequest {
        SessionRequest {
            env: [("API_KEY".to_owned(), value.to_owned())].into(),
            ..SessionRequest::default()
        }
    }

    #[test]
    fn configuration_and_tokens_are_hidden_also_in_the_log() {
        let masks = masks();
        let masker = masks.of_server().unwrap();
        assert_eq!(masker.text("configured opens-the-door"), "*** ***");
        let log = masks.of_log().get().unwrap();
        assert!(Arc::ptr_eq(&masker, &log));
    }

    #[test]
    fn a_reader_is_told_when_the_secrets_change() {
        let folder = std::env::temp_dir().join(format!("promptd-generation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let agent = ("shell".to_owned(), folder.clone());
        let id = "session".parse().unwrap();
        let file = SessionFile::new(id, jiff::Timestamp::now(), agent, None, request("value-1"));
        let (masks, session) = (masks(), Session::new(folder.clone(), file));
        masks.refresh_server();
        let first = masks.generation(&session);
        assert_eq!(masks.generation(&session), first, "nothing has changed");
        let server = promptd_model::McpServer {
            env: [("ANY".to_owned(), "in-a-file-1".to_owned())].into(),
            ..promptd_model::McpServer::default()
        };
        let servers = [("lab".to_owned(), server)].into();
        session
            .file_secrets
            .add_launch(&masks.settings.get(), &servers)
            .unwrap();
        let second = masks.generation(&session);
        assert_ne!(second, first, "a file of the session");
        let settings = Settings::clone(&masks.settings.get());
        masks.settings.replace(settings);
        masks.refresh_server();
        assert_ne!(masks.generation(&session), second, "the server's");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_same_secrets_have_the_same_automaton() {
        let masks = masks();
        let server = masks.of_server().unwrap();
        let own = masks.of_request(&SessionRequest::default()).unwrap();
        assert!(Arc::ptr_eq(&own, &server));
        let of = |value: &str| masks.of_request(&request(value)).unwrap();
        let (one, other, again) = (of("value-1"), of("value-2"), of("value-1"));
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
        assert_eq!(one.text("value-1 value-2 configured"), "*** value-2 ***");
        let unmasked = SessionRequest {
            mask: Some(false),
            ..request("value-1")
        };
        assert!(masks.of_request(&unmasked).is_none());
    }

    #[test]
    fn thousands_of_sessions_keep_a_few_automata() {
        let masks = masks();
        let maskers: Vec<Weak<Masker>> = (0..100)
            .map(|n| Arc::downgrade(&masks.of_request(&request(&format!("value-{n}"))).unwrap()))
            .collect();
        let kept = maskers.iter().filter(|masker| masker.strong_count() > 0).count();
        assert_eq!(kept, KEPT);
    }

    /// A sink's key is a secret: `POST /execute` puts sinks beside readers that ask for the masker.
    #[test]
    fn sinks_are_put_beside_readers_without_a_deadlock() {
        let folder = std::env::temp_dir().join(format!("promptd-masks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let agent = ("shell".to_owned(), folder.clone());
        let id = "session".parse().unwrap();
        let file = SessionFile::new(id, jiff::Timestamp::now(), agent, None, request("value-1"));
        let (masks, session) = (masks(), Session::new(folder.clone(), file));
        let sink = |number: u32| SinkRequest {
            kind: promptd_model::SinkKind::Http,
            url: Some("http://127.0.0.1:9/".to_owned()),
            headers: [("x-api-key".to_owned(), format!("key-{number}-of-it"))].into(),
            ..SinkRequest::default()
        };
        std::thread::scope(|scope| {
            for _reader in 0..2 {
                scope.spawn(|| (0..200).for_each(|_| drop(masks.of_session(&session))));
            }
            scope.spawn(|| {
                for number in 0..50 {
                    let staged = session.stage_sink(&sink(number)).unwrap();
                    session.commit_sinks(staged.unwrap());
                }
            });
        });
        let masker = masks.of_session(&session).unwrap();
        assert_eq!(masker.text("key-49-of-it"), "***");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
