//! `auth = "e2b"`: whether a caller has the access token that E2B's SDK holds for this sandbox.
//!
//! The platform's own daemon (envd) knows that token, and answers `/envs` to nobody else: so it can be asked, and its
//! answer is the environment that the sandbox was created with. A sandbox that was created with `secure: false` has no
//! such token, and its daemon answers everybody; then no token is accepted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::runtime::access::configure::Access;
use crate::runtime::access::token::{Digest, digest};
use crate::runtime::access::variables::Names;
use crate::runtime::blocking::run_blocking;
use crate::runtime::platform::machine::Machine;
use crate::runtime::secrets::masks::Masks;
use crate::runtime::settings::SettingsStore;
use promptd_sys as sys;

/// How long it may take: the daemon lives on this very machine.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(10);

/// So many questions at a time; the others wait, so that strangers who guess do not overload the daemon.
const MAX_QUESTIONS: usize = 4;

/// The most that is read of an answer.
const MAX_ANSWER: usize = 4 << 20;

/// What the platform's SDK sends.
const HEADER: &str = "x-access-token";

/// The platform could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EnvdError {
    /// It does not answer as it should.
    #[error("E2B's daemon at {address} does not say whether the X-Access-Token is right: {reason}; try again")]
    Unavailable {
        /// Where it was asked.
        address: String,
        /// What happened.
        reason: String,
    },
    /// It accepts every token.
    #[error(
        "this sandbox has no access token of its own, so that X-Access-Token proves nothing; create it with secure: true, or set a token with `promptd configure` in it"
    )]
    NotSecured,
}

/// Asks the daemon, and believes its last answer for a moment.
#[derive(Debug)]
pub(crate) struct Envd {
    settings: Arc<SettingsStore>,
    machine: Arc<Machine>,
    access: Arc<Access>,
    masks: Arc<Masks>,
    accepted: Mutex<Option<Accepted>>,
    asking: Semaphore,
}

/// The token that was accepted last.
struct Accepted {
    digest: Digest,
    /// The number of the epoch in which it was asked: a clone has another token.
    epoch: u64,
    since: Instant,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accepted")
    }
}

impl Envd {
    pub(crate) fn new(
        settings: Arc<SettingsStore>,
        machine: Arc<Machine>,
        access: Arc<Access>,
        masks: Arc<Masks>,
    ) -> Self {
        Self {
            settings,
            machine,
            access,
            masks,
            accepted: Mutex::default(),
            asking: Semaphore::new(MAX_QUESTIONS),
        }
    }

    /// Whether the platform knows this token as the sandbox's. If so, the sandbox's environment is learned, too.
    ///
    /// `host` is the caller's name for this sandbox: a clone has another name, and an answer about one says nothing
    /// about the other.
    pub(crate) async fn accepts(&self, token: &str, host: Option<&str>) -> Result<bool, EnvdError> {
        let digest = digest(&format!("{token}\n{}", host.unwrap_or_default()));
        if self.was_accepted(&digest) {
            return Ok(true);
        }
        let Ok(token) = HeaderValue::try_from(token) else {
            return Ok(false);
        };
        let Ok(_permit) = self.asking.acquire().await else {
            return Ok(false);
        };
        // For those who waited until the first of them had its answer.
        if self.was_accepted(&digest) {
            return Ok(true);
        }
        // Read before: an answer that comes while the machine becomes another one is about the one before.
        let epoch = self.machine.epoch_number();
        let address = self.settings.get().platform.envd.clone();
        let Some(variables) = ask(&address, token).await? else {
            return Ok(false);
        };
        let (access, masks) = (Arc::clone(&self.access), Arc::clone(&self.masks));
        let learned = run_blocking(move || {
            let learned = access.set_platform_variables(variables);
            masks.refresh_server();
            learned
        });
        if let Err(error) = learned.await {
            tracing::error!(%error, "the sandbox's environment cannot be kept");
        }
        let since = Instant::now();
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Accepted { digest, epoch, since });
        Ok(true)
    }

    fn was_accepted(&self, digest: &Digest) -> bool {
        let epoch = self.machine.epoch_number();
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.as_ref().is_some_and(|accepted| {
            bool::from(accepted.digest.ct_eq(digest)) && accepted.since.elapsed() < BELIEVED && accepted.epoch == epoch
        })
    }
}

/// The sandbox's environment, if the token is right.
async fn ask(address: &str, token: HeaderValue) -> Result<Option<Names>, EnvdError> {
    let failed = |reason: String| EnvdError::Unavailable {
        address: address.to_owned(),
        reason,
    };
    // Made anew each time: what is kept open over a pause is dead, and it is seldom enough.
    // Fails only where one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().tls_certs_only([]).redirect(Policy::none());
    let client = client
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let envs = async |mut token: HeaderValue| {
        token.set_sensitive(true);
        let request = client.get(format!("{address}/envs")).header(HEADER, token);
        let answer = request.send().await.map_err(|error| failed(cause(&error)))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
            status => Err(failed(format!("it answers {status}"))),
        }
    };
    if envs(token.clone()).await?.is_none() {
        return Ok(None);
    }
    // If a token that is certainly wrong is accepted, so is every token.
    if envs(random_token().map_err(|error| failed(error.to_string()))?)
        .await?
        .is_some()
    {
        return Err(EnvdError::NotSecured);
    }
    // Once more: the daemon may have got its token between the two, and then the first answer meant nothing.
    let Some(answer) = envs(token).await? else {
        return Ok(None);
    };
    read(answer).await.map(Some).map_err(failed)
}

fn random_token() -> std::io::Result<HeaderValue> {
    let random: [u8; 16] = sys::random_bytes()?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(text).map_err(std::io::Error::other)
}

async fn read(mut answer: Response) -> Result<Names, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| cause(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(format!("its answer has more than {MAX_ANSWER} bytes"));
        }
    }
    // The library's own message could quote a value.
    serde_json::from_slice(&body).map_err(|_| "its answer is no object of names and texts".to_owned())
}

/// The cause at the bottom, which has no URL in it.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
