//! The HTTP clients of all sinks, renewed when certificates or name servers of the machine change.
//!
//! A sandbox's certificates and name servers may be installed after the start of the server, and may change at a resume.
//! They are checked before an attempt, at most once a second.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::redirect::Policy;

/// Maximum duration of a request, including the connection and the answer.
const TIMEOUT: Duration = Duration::from_secs(30);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that does not acknowledge data for this time is gone, for example after a pause.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long, and how many, unused connections are kept per backend.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_IDLE: usize = 8;

/// Minimum time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The files of certificates, name servers and host names that `rustls-native-certs` (with `openssl-probe`) and
/// `hickory-resolver` read, on common distributions.
const FILES: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// The environment variables that name further certificates.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The clients: one for HTTP and one for HTTPS.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<Built>);

#[derive(Debug, Default)]
struct Built {
    checked: Option<Instant>,
    stamps: Vec<Stamp>,
    plain: Option<reqwest::Client>,
    encrypted: Option<reqwest::Client>,
}

/// Identifies a version of a file: changes when it is written, replaced, created or deleted.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Clients {
    /// The client for a URL.
    pub(crate) fn for_url(&self, url: &Url) -> Result<reqwest::Client, reqwest::Error> {
        let mut built = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if built.checked.is_none_or(|checked| checked.elapsed() > CHECK_INTERVAL) {
            let stamps = stamps();
            if built.stamps != stamps {
                (built.plain, built.encrypted, built.stamps) = (None, None, stamps);
            }
            built.checked = Some(Instant::now());
        }
        let encrypted = url.scheme() == "https";
        let kept = if encrypted {
            &mut built.encrypted
        } else {
            &mut built.plain
        };
        if let Some(client) = kept {
            return Ok(client.clone());
        }
        let client = build(encrypted)?;
        Ok(kept.insert(client).clone())
    }

    /// Closes all connections and forgets resolved names.
    pub(crate) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Built::default();
    }
}

fn build(encrypted: bool) -> Result<reqwest::Client, reqwest::Error> {
    // Fails only if a provider is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("promptd/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_user_timeout(USER_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE);
    // Plain HTTP works on a machine without certificates.
    let builder = if encrypted { builder } else { builder.tls_certs_only([]) };
    builder.build()
}

fn stamps() -> Vec<Stamp> {
    let named = VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let paths = FILES.iter().map(PathBuf::from).chain(named);
    paths
        .map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
        })
        .collect()
}
