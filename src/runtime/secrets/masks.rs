//! Which values are secret: the server's own, and each session's.
//!
//! An automaton takes time to build and memory to keep, so all readers of a session share one, and so do sessions
//! with the same secrets. Only the last few used are kept when nobody reads: thousands of sessions cost no
//! thousands of automata.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use crate::runtime::access::environment::Variables;
use crate::runtime::access::tokens::Token;
use crate::runtime::config;
use crate::runtime::delivery;
use crate::runtime::launch::setup;
use crate::runtime::{Runtime, Sdk, Session, Settings};
use promptd_mask::{Masker, Secrets};
use promptd_model::{McpServer, SessionRequest, SinkRequest};
use promptd_sinks::Sink;

/// How many automata are kept though nobody uses them: enough for those who ask again and again.
const KEPT: usize = 16;

/// All maskers of the server.
#[derive(Debug, Default)]
pub(crate) struct Masks {
    server: Mutex<Option<Server>>,
    shared: ServerMask,
    /// Those of sessions with secrets of their own that were asked for last, the newest at the end.
    kept: Mutex<VecDeque<(Secrets, Arc<Masker>)>>,
}

/// The server's own secrets, and what they were gathered from.
#[derive(Clone, Debug)]
struct Server {
    settings: Arc<Settings>,
    tokens: Vec<Token>,
    variables: Arc<Variables>,
    sdk: Arc<Sdk>,
    secrets: Arc<Secrets>,
    masker: Option<Arc<Masker>>,
}

/// The masker of the server's own secrets, for whoever cannot wait for another to be built: the log.
#[derive(Clone, Debug, Default)]
pub struct ServerMask(Arc<RwLock<Option<Arc<Masker>>>>);

impl ServerMask {
    /// The masker that was built last.
    pub fn get(&self) -> Option<Arc<Masker>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, masker: Option<Arc<Masker>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = masker;
    }
}

/// A session's own masker, and from which secrets of the server it was built.
#[derive(Debug, Default)]
pub(crate) struct SessionMask(Mutex<Option<(Arc<Secrets>, Weak<Masker>)>>);

impl SessionMask {
    /// What is secret has changed.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Runtime {
    /// What hides the secrets in everything that leaves of a session; `None` where nothing is to be hidden.
    pub fn masker(&self, session: &Session) -> Option<Arc<Masker>> {
        if session.request().mask == Some(false) {
            return None;
        }
        let server = self.server_secrets();
        let mut slot = session.mask.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, masker)) = &*slot
            && Arc::ptr_eq(from, &server.secrets)
            && let Some(masker) = masker.upgrade()
        {
            return Some(masker);
        }
        let mut secrets = Secrets::clone(&server.secrets);
        request_secrets(session.request(), &session.own_sinks(), &server.variables, &mut secrets);
        secrets.extend(&session.file_secrets());
        let masker = self.masks.masker(&server, secrets)?;
        *slot = Some((server.secrets, Arc::downgrade(&masker)));
        Some(masker)
    }

    /// The same for a session that there is not, because its request is refused.
    pub fn masker_for(&self, request: &SessionRequest) -> Option<Arc<Masker>> {
        if request.mask == Some(false) {
            return None;
        }
        let server = self.server_secrets();
        let mut secrets = Secrets::clone(&server.secrets);
        request_secrets(request, &request.sinks, &server.variables, &mut secrets);
        self.masks.masker(&server, secrets)
    }

    /// What hides the server's own secrets: those of its environment and configuration, and its tokens.
    pub fn server_masker(&self) -> Option<Arc<Masker>> {
        self.server_secrets().masker
    }

    /// The same for the log, which asks with every line and must not wait.
    pub fn server_mask(&self) -> ServerMask {
        self.server_secrets();
        self.masks.shared.clone()
    }

    fn server_secrets(&self) -> Server {
        let (settings, variables) = (self.settings(), self.variables());
        let (tokens, sdk) = (self.tokens.known(&settings), self.sdk());
        let mut known = self.masks.server.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |server: &&Server| {
            Arc::ptr_eq(&server.settings, &settings)
                && server.tokens == tokens
                && Arc::ptr_eq(&server.variables, &variables)
                && Arc::ptr_eq(&server.sdk, &sdk)
        };
        if let Some(server) = known.as_ref().filter(is_current) {
            return server.clone();
        }
        let mut secrets = secrets_of(&settings, &tokens, &variables);
        request_secrets(&sdk.config.request(), &[], &variables, &mut secrets);
        let secrets = Arc::new(secrets);
        let masker = Masker::new(&secrets).map(Arc::new);
        self.masks.shared.set(masker.clone());
        let server = Server {
            settings,
            tokens,
            variables,
            sdk,
            secrets,
            masker,
        };
        known.insert(server).clone()
    }
}

impl Masks {
    /// The masker of these secrets: the server's own, one that is known, or a new one.
    fn masker(&self, server: &Server, secrets: Secrets) -> Option<Arc<Masker>> {
        if secrets == *server.secrets {
            return server.masker.clone();
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(known, _)| *known == secrets);
        let last = if let Some(last) = known.and_then(|at| kept.remove(at)) {
            last
        } else {
            let masker = Arc::new(Masker::new(&secrets)?);
            (secrets, masker)
        };
        let masker = Arc::clone(&last.1);
        kept.push_back(last);
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Some(masker)
    }
}

/// The secrets that a session has of its own.
fn request_secrets(request: &SessionRequest, sinks: &[SinkRequest], variables: &Variables, secrets: &mut Secrets) {
    for (name, value) in &request.env {
        secrets.add_env(name, value);
    }
    add_servers(request.mcp_servers.values(), secrets);
    if let Some(token) = setup::token(request, variables) {
        secrets.add(&token);
    }
    if let Some(variable) = request.repo.as_ref().and_then(|repo| repo.token_env.as_ref()) {
        variables.add_secret(variable, secrets);
    }
    for sink in delivery::requested(sinks).unwrap_or_default() {
        add_sink(&sink, secrets);
    }
}

/// Whatever the names: a variable or header that is written for one server is there to let us in.
pub(crate) fn add_servers<'a>(servers: impl IntoIterator<Item = &'a McpServer>, secrets: &mut Secrets) {
    for server in servers {
        for value in server.env.values() {
            secrets.add_value(value);
        }
        for (name, value) in &server.headers {
            secrets.add_header(name, value);
        }
        if let Some(url) = &server.url {
            secrets.add_url(url);
        }
    }
}

fn add_sink(sink: &Sink, secrets: &mut Secrets) {
    for secret in sink.secrets() {
        secrets.add(secret);
    }
}

/// The server's own secrets. Its environment is every agent's, too.
fn secrets_of(settings: &Settings, tokens: &[Token], variables: &Variables) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in config::environment() {
        secrets.add_env(&name, &value);
    }
    for (name, value) in settings.agents.values().flat_map(|agent| &agent.env) {
        secrets.add_env(name, value);
    }
    add_servers(settings.mcp_servers.values(), &mut secrets);
    variables.add_secrets(&mut secrets);
    for token in tokens.iter().filter_map(Token::secret) {
        secrets.add(token);
    }
    for sink in delivery::global(settings) {
        add_sink(&sink, &mut secrets);
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        let flags = config::Flags {
            home: Some("/nowhere".into()),
            workspace: Some("/nowhere".into()),
            ..config::Flags::default()
        };
        let file = "[agents.mine]\ncommand = [\"cat\"]\nenv = { MY_TOKEN = \"configured\" }\n";
        let settings = Arc::new(config::settings(flags, &config::Environment::new(), Some(file)).unwrap());
        let tokens = vec![Token::of_line("opens-the-door").unwrap()];
        let mut variables = Variables::default();
        variables.configured = [("THEIR_TOKEN".to_owned(), "told-later".to_owned())].into();
        let variables = Arc::new(variables);
        let secrets = Arc::new(secrets_of(&settings, &tokens, &variables));
        let masker = Masker::new(&secrets).map(Arc::new);
        Server {
            settings,
            tokens,
            variables,
            sdk: Arc::default(),
            secrets,
            masker,
        }
    }

    fn with(server: &Server, value: &str) -> Secrets {
        let mut secrets = Secrets::clone(&server.secrets);
        request_secrets(
            &SessionRequest {
                env: [("API_KEY".to_owned(), value.to_owned())].into(),
                ..SessionRequest::default()
            },
            &[],
            &server.variables,
            &mut secrets,
        );
        secrets
    }

    #[test]
    fn configuration_and_tokens_are_known() {
        let masker = server().masker.unwrap();
        assert_eq!(masker.text("configured opens-the-door told-later"), "*** *** ***");
    }

    #[test]
    fn what_a_server_of_tools_is_given_is_known() {
        let (server, mut secrets) = (server(), Secrets::default());
        let words = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        let tools = McpServer {
            env: words("ANYTHING", "in-the-env-1"),
            headers: words("X-Any", "in-a-header-2"),
            url: Some("https://user:in-the-url-3@host/mcp".to_owned()),
            ..McpServer::default()
        };
        let request = SessionRequest {
            mcp_servers: [("tools".to_owned(), tools)].into(),
            ..SessionRequest::default()
        };
        request_secrets(&request, &[], &server.variables, &mut secrets);
        let masker = Masker::new(&secrets).unwrap();
        assert_eq!(
            masker.text("in-the-env-1 in-a-header-2 in-the-url-3 host"),
            "*** *** *** host"
        );
    }

    #[test]
    fn who_has_the_same_secrets_has_the_same_automaton() {
        let (server, masks) = (server(), Masks::default());
        let own = masks.masker(&server, Secrets::clone(&server.secrets)).unwrap();
        assert!(Arc::ptr_eq(&own, server.masker.as_ref().unwrap()));
        let one = masks.masker(&server, with(&server, "value-1")).unwrap();
        let other = masks.masker(&server, with(&server, "value-2")).unwrap();
        let again = masks.masker(&server, with(&server, "value-1")).unwrap();
        assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
        assert_eq!(one.text("value-1 value-2 configured"), "*** value-2 ***");
    }

    #[test]
    fn thousands_of_sessions_keep_a_few_automata() {
        let (server, masks) = (server(), Masks::default());
        let maskers: Vec<Weak<Masker>> = (0..100)
            .map(|n| Arc::downgrade(&masks.masker(&server, with(&server, &format!("value-{n}"))).unwrap()))
            .collect();
        let kept = maskers.iter().filter(|masker| masker.strong_count() > 0).count();
        assert_eq!(kept, KEPT);
    }
}
