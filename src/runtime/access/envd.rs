//! `auth = "e2b"`: whether the platform vouches for a caller, by the token that its SDK has for every sandbox.
//!
//! The platform's own daemon knows that token, and answers `/envs` to nobody else: so it can be asked, and in the same
//! breath tells the environment that the sandbox was created with. A sandbox that was created with `secure: false` has
//! no such token, and its daemon answers everybody; then nobody is let in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::runtime::Runtime;
use crate::runtime::access::environment::Names;
use crate::runtime::access::tokens::{Digest, digest};
use promptd_sys as sys;

/// How long it may take: the daemon lives on this very machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it is believed what was answered.
const BELIEVED: Duration = Duration::from_secs(10);

/// So many are asked about at a time; the others wait, so that guesses of strangers do not swamp the daemon.
const AT_A_TIME: usize = 4;

/// The most that is read of an answer.
const MOST: usize = 4 << 20;

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
    /// It lets everybody in.
    #[error(
        "this sandbox has no access token of its own, so that X-Access-Token proves nothing; create it with secure: true, or set a token with `promptd configure` in it"
    )]
    NotSecured,
}

/// Who was vouched for last.
#[derive(Debug)]
pub(crate) struct Envd {
    vouched: Mutex<Option<Vouched>>,
    asking: Semaphore,
}

struct Vouched {
    digest: Digest,
    /// The number of the epoch in which it was asked: a clone's token is another.
    epoch: u64,
    since: Instant,
}

impl std::fmt::Debug for Vouched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vouched")
    }
}

impl Default for Envd {
    fn default() -> Self {
        Self {
            vouched: Mutex::default(),
            asking: Semaphore::new(AT_A_TIME),
        }
    }
}

impl Runtime {
    /// Whether the platform knows this token as the sandbox's. If so, its environment is learned, too.
    ///
    /// `host` is what the caller calls this sandbox: a clone has another name, and what was heard before is not its own.
    pub async fn platform_vouches_for(self: &Arc<Self>, token: &str, host: Option<&str>) -> Result<bool, EnvdError> {
        let digest = digest(&format!("{token}\n{}", host.unwrap_or_default()));
        if self.was_vouched_for(&digest) {
            return Ok(true);
        }
        let Ok(token) = HeaderValue::try_from(token) else {
            return Ok(false);
        };
        let Ok(_place) = self.envd.asking.acquire().await else {
            return Ok(false);
        };
        // Those who waited for the first of them to be asked about.
        if self.was_vouched_for(&digest) {
            return Ok(true);
        }
        // Before: what is answered while the machine becomes another one is of the one before.
        let epoch = self.epoch.number();
        let address = self.settings().platform.envd.clone();
        let Some(told) = ask(&address, token).await? else {
            return Ok(false);
        };
        if let Err(error) = self.platform_tells(told).await {
            tracing::error!(%error, "the sandbox's environment cannot be kept");
        }
        let since = Instant::now();
        *self.envd.vouched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vouched { digest, epoch, since });
        Ok(true)
    }

    fn was_vouched_for(&self, digest: &Digest) -> bool {
        let vouched = self.envd.vouched.lock().unwrap_or_else(PoisonError::into_inner);
        vouched.as_ref().is_some_and(|vouched| {
            bool::from(vouched.digest.ct_eq(digest))
                && vouched.since.elapsed() < BELIEVED
                && vouched.epoch == self.epoch.number()
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
        .timeout(PATIENCE)
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
    // A token that is certainly wrong tells whether the right one means anything.
    if envs(nobodys().map_err(|error| failed(error.to_string()))?)
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

fn nobodys() -> std::io::Result<HeaderValue> {
    let random: [u8; 16] = sys::random_bytes()?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(text).map_err(std::io::Error::other)
}

async fn read(mut answer: Response) -> Result<Names, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| cause(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST {
            return Err(format!("its answer has more than {MOST} bytes"));
        }
    }
    // The library's own words could quote a value.
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
