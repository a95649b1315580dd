//! The client of every subcommand: HTTP over the home's control socket, or to a remote server.
//!
//! A request is sent again when the connection breaks: each is either a question, or means the same when it
//! is said twice (`stop`, `interrupt`, and `create` with its idempotency key). With a local home, the next try
//! may find another server there, or host one itself.

use std::fs::{DirBuilder, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::host::{self, Host};
use super::request::{Request, session_path};
use super::responses::{Problem, Session};
use crate::api::CONTROL_SOCKET;
use crate::cli::error::CliError;
use crate::cli::global::Global;
use crate::runtime::config;

/// How long a server that answered before may be away: a restart, a new version, a sandbox that is resumed.
const AWAY: Duration = Duration::from_mins(1);

/// How long a server that never answered may be "not ready" (502 to 504), as a platform's proxy says it.
const NOT_READY: Duration = Duration::from_secs(5);

const FIRST_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(3);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds out that a peer has gone without a word, as a paused sandbox does.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// A server, wherever it is.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    authorization: Option<HeaderValue>,
    local: Option<Local>,
    /// It has answered before.
    met: AtomicBool,
}

#[derive(Debug)]
struct Local {
    home: PathBuf,
    /// Keeps the short name of the control socket valid.
    _opened: File,
    host: Mutex<Option<Host>>,
}

impl Client {
    /// The client of the server that the arguments name.
    pub(crate) fn new(global: &Global) -> Result<Self, CliError> {
        match &global.url {
            Some(url) => {
                let environment = config::environment();
                Self::remote(url, environment.get("PROMPTD_TOKEN").map(String::as_str))
            }
            None => Self::local(global.home.clone()),
        }
    }

    pub(crate) fn remote(url: &str, token: Option<&str>) -> Result<Self, CliError> {
        let base = url.trim_end_matches('/');
        let encrypted = base.starts_with("https://");
        if !encrypted && !base.starts_with("http://") {
            return Err(CliError::Usage(format!(
                "--url is {url:?}; write it with its scheme, such as https://{base}"
            )));
        }
        let builder = reqwest::Client::builder()
            .tcp_keepalive(TCP_KEEPALIVE)
            .connect_timeout(CONNECT_TIMEOUT);
        // Certificates are read where they are needed, so that a machine without any can speak plain HTTP.
        let builder = if encrypted { builder } else { builder.tls_certs_only([]) };
        // The first of several tokens: the server takes a list, a client has one.
        let token = token.and_then(|token| config::split_tokens(token).next());
        let authorization = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| CliError::Usage("PROMPTD_TOKEN has characters that no token can have".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, CliError>(value)
        });
        let authorization = authorization.transpose()?;
        Ok(Self {
            http: build(builder)?,
            base: base.to_owned(),
            authorization,
            local: None,
            met: AtomicBool::new(false),
        })
    }

    pub(crate) fn local(home: Option<PathBuf>) -> Result<Self, CliError> {
        let home = config::home_of(home, &config::environment())?;
        let opened = open_home(&home)?;
        // A socket's address has room for 108 bytes, and a home may be deeper.
        let socket = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", opened.as_raw_fd());
        let builder = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .tls_certs_only([]);
        Ok(Self {
            http: build(builder)?,
            base: "http://localhost".to_owned(),
            authorization: None,
            local: Some(Local {
                home,
                _opened: opened,
                host: Mutex::new(None),
            }),
            met: AtomicBool::new(false),
        })
    }

    /// We serve the home ourselves.
    pub(crate) async fn is_host(&self) -> bool {
        match &self.local {
            Some(local) => local.host.lock().await.is_some(),
            None => false,
        }
    }

    /// Stops hosting, if we did.
    pub(crate) async fn leave(&self) {
        if let Some(local) = &self.local {
            let host = local.host.lock().await.take();
            if let Some(host) = host {
                host.leave().await;
            }
        }
    }

    /// Sends a request until it is answered; an answer that is no success is an error.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, CliError> {
        let begin = Instant::now();
        let mut delay = FIRST_DELAY;
        loop {
            if let Some(local) = &self.local {
                local.connect_or_host().await?;
            }
            let (reason, patience) = match self.attempt(request).await {
                Ok(response) if is_passing(response.status()) => {
                    let patience = if self.is_patient() { AWAY } else { NOT_READY };
                    (refusal(response).await.to_string(), patience)
                }
                Ok(response) => {
                    self.met.store(true, Ordering::Relaxed);
                    return if response.status().is_success() {
                        Ok(response)
                    } else {
                        Err(refusal(response).await)
                    };
                }
                Err(error) if error.is_builder() => return Err(CliError::Usage(innermost(&error))),
                Err(error) if self.is_patient() => (innermost(&error), AWAY),
                // A stranger who does not even listen is a wrong address.
                Err(error) if error.is_connect() => (innermost(&error), Duration::ZERO),
                Err(error) => (innermost(&error), NOT_READY),
            };
            if begin.elapsed().saturating_add(delay) > patience {
                return Err(CliError::NoServer {
                    place: self.place(),
                    reason,
                });
            }
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2).min(MAX_DELAY);
        }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: &Request) -> Result<T, CliError> {
        let response = self.send(request).await?;
        let bytes = response
            .bytes()
            .await
            .map_err(|error| CliError::BadAnswer(innermost(&error)))?;
        serde_json::from_slice(&bytes).map_err(|error| CliError::BadAnswer(error.to_string()))
    }

    pub(crate) async fn session(&self, id: &str) -> Result<Session, CliError> {
        self.json(&Request::get(session_path(id, ""))).await
    }

    async fn attempt(&self, request: &Request) -> Result<Response, reqwest::Error> {
        let url = format!("{}{}", self.base, request.path);
        let mut builder = self
            .http
            .request(request.method.clone(), url)
            .header(ACCEPT, request.accept);
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(key) = &request.idempotency_key {
            builder = builder.header("Idempotency-Key", key);
        }
        if let Some(authorization) = &self.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some(timeout) = request.timeout {
            builder = builder.timeout(timeout);
        }
        builder.send().await
    }

    fn is_patient(&self) -> bool {
        self.local.is_some() || self.met.load(Ordering::Relaxed)
    }

    fn place(&self) -> String {
        self.local
            .as_ref()
            .map_or_else(|| self.base.clone(), |local| host::place(&local.home))
    }
}

impl Local {
    async fn connect_or_host(&self) -> Result<(), CliError> {
        let mut host = self.host.lock().await;
        if host.as_ref().is_some_and(Host::serves) {
            return Ok(());
        }
        // A server of ours that has given up lets go of the home before anybody looks for the next.
        drop(host.take());
        *host = host::connect_or_host(&self.home).await?;
        Ok(())
    }
}

/// Opens the home, made for its owner alone where there is none.
fn open_home(home: &Path) -> Result<File, CliError> {
    let opened = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .and_then(|()| File::open(home));
    opened.map_err(|source| CliError::File {
        path: home.to_owned(),
        source,
    })
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, CliError> {
    // Fails only where one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    builder
        .user_agent(concat!("promptd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(CliError::Client)
}

/// Says "not now": a server that starts or leaves, or a proxy in front of one.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

async fn refusal(response: Response) -> CliError {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let problem = serde_json::from_slice::<Problem>(&body).unwrap_or_default();
    let detail = problem
        .detail
        .or(problem.title)
        .unwrap_or_else(|| format!("the server answers {status}"));
    CliError::Refused {
        status: status.as_u16(),
        detail,
    }
}

/// The cause at the bottom: "connection refused" tells more than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
