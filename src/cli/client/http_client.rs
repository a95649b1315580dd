//! The HTTP client of every subcommand, over the home's control socket or to a remote server.
//!
//! Requests are sent again when the connection breaks: all of them are idempotent (`create` has an idempotency key). With a
//! local home, the next attempt may find another server, or host one itself.

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

/// How long a server that has answered may be unreachable: it restarts, or the sandbox is resumed.
const MAX_OUTAGE: Duration = Duration::from_mins(1);

/// How long a server that has never answered may be not ready (502 to 504, from a platform's proxy).
const MAX_NOT_READY: Duration = Duration::from_secs(5);

const FIRST_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(3);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Detects a peer that is gone without closing the connection, such as a paused sandbox.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    authorization: Option<HeaderValue>,
    local: Option<Local>,
    has_answered: AtomicBool,
}

#[derive(Debug)]
struct Local {
    home: PathBuf,
    /// The socket's address refers to this descriptor.
    _directory: File,
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
        // Plain HTTP must also work on a machine without certificates.
        let builder = if encrypted { builder } else { builder.tls_certs_only([]) };
        // The server accepts a list of tokens; a client sends the first.
        let token = token.and_then(|token| config::split_tokens(token).next());
        let authorization = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                CliError::Usage("PROMPTD_TOKEN has characters that are not allowed in a token".to_owned())
            })?;
            value.set_sensitive(true);
            Ok::<_, CliError>(value)
        });
        let authorization = authorization.transpose()?;
        Ok(Self {
            http: build(builder)?,
            base: base.to_owned(),
            authorization,
            local: None,
            has_answered: AtomicBool::new(false),
        })
    }

    pub(crate) fn local(home: Option<PathBuf>) -> Result<Self, CliError> {
        let home = config::home_of(home, &config::environment())?;
        let directory = open_home(&home)?;
        // A socket's address has at most 108 bytes; the path of the home may be longer.
        let socket = format!("/proc/self/fd/{}/{CONTROL_SOCKET}", directory.as_raw_fd());
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
                _directory: directory,
                host: Mutex::new(None),
            }),
            has_answered: AtomicBool::new(false),
        })
    }

    /// Whether this process hosts the server.
    pub(crate) async fn is_host(&self) -> bool {
        match &self.local {
            Some(local) => local.host.lock().await.is_some(),
            None => false,
        }
    }

    /// Stops the server if this process hosts it.
    pub(crate) async fn leave(&self) {
        if let Some(local) = &self.local {
            let host = local.host.lock().await.take();
            if let Some(host) = host {
                host.leave().await;
            }
        }
    }

    /// Sends a request, again if necessary. A response that is not a success is an error.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, CliError> {
        let begin = Instant::now();
        let mut delay = FIRST_DELAY;
        loop {
            if let Some(local) = &self.local {
                local.connect_or_host().await?;
            }
            let (reason, limit) = match self.attempt(request).await {
                Ok(response) if is_temporary(response.status()) => {
                    let limit = if self.is_known() { MAX_OUTAGE } else { MAX_NOT_READY };
                    (refusal(response).await.to_string(), limit)
                }
                Ok(response) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    return if response.status().is_success() {
                        Ok(response)
                    } else {
                        Err(refusal(response).await)
                    };
                }
                Err(error) if error.is_builder() => return Err(CliError::Usage(innermost(&error))),
                Err(error) if self.is_known() => (innermost(&error), MAX_OUTAGE),
                // Nothing listens: probably a wrong address.
                Err(error) if error.is_connect() => (innermost(&error), Duration::ZERO),
                Err(error) => (innermost(&error), MAX_NOT_READY),
            };
            if begin.elapsed().saturating_add(delay) > limit {
                return Err(CliError::NoServer {
                    address: self.address(),
                    reason,
                });
            }
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2).min(MAX_DELAY);
        }
    }

    /// Sends a request and parses the response.
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

    fn is_known(&self) -> bool {
        self.local.is_some() || self.has_answered.load(Ordering::Relaxed)
    }

    fn address(&self) -> String {
        self.local
            .as_ref()
            .map_or_else(|| self.base.clone(), |local| host::socket_path(&local.home))
    }
}

impl Local {
    async fn connect_or_host(&self) -> Result<(), CliError> {
        let mut host = self.host.lock().await;
        if host.as_ref().is_some_and(Host::is_running) {
            return Ok(());
        }
        // A hosted server that has ended must release the home before the next one can start.
        drop(host.take());
        *host = host::connect_or_host(&self.home).await?;
        Ok(())
    }
}

/// Opens the home. Creates it, for its owner only, where there is none.
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
    // Fails only if a provider is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    builder
        .user_agent(concat!("promptd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(CliError::Client)
}

/// A server that starts or stops, or the proxy before it.
fn is_temporary(status: StatusCode) -> bool {
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

/// The root cause: "connection refused" says more than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
