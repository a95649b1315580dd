//! The HTTP clients of all sinks, made anew when the machine's certificates or name servers have changed.
//!
//! A sandbox's certificates, resolver and proxies may be put in place after the server was started, and differ after a
//! resume. Whether they did is looked up before an attempt, at most once a second: nothing is watched, nothing polled.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::redirect::Policy;

/// How long a request may take, from its connection to the end of its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that is silent for longer than this while data is under way is gone: so looks one from before a pause.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Unused connections are closed after this long, and no more than this many are kept for a backend.
const IDLE: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 8;

/// Files are looked at no sooner than this after the last look.
const NOT_SOONER: Duration = Duration::from_secs(1);

/// Where certificates, name servers and names stand: what `rustls-native-certs` (by way of `openssl-probe`) and
/// `hickory-resolver` read, on the distributions that templates are made of.
const FILES: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// And where the environment says that certificates stand.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The clients.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    looked: Option<Instant>,
    stamps: Vec<Stamp>,
    plain: Option<reqwest::Client>,
    encrypted: Option<reqwest::Client>,
}

/// Changes whenever a file is written, replaced, appears or goes.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Clients {
    /// The client for a URL.
    pub(super) fn for_url(&self, url: &Url) -> Result<reqwest::Client, reqwest::Error> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.looked.is_none_or(|looked| looked.elapsed() > NOT_SOONER) {
            let stamps = stamps();
            if made.stamps != stamps {
                (made.plain, made.encrypted, made.stamps) = (None, None, stamps);
            }
            made.looked = Some(Instant::now());
        }
        let encrypted = url.scheme() == "https";
        let kept = if encrypted {
            &mut made.encrypted
        } else {
            &mut made.plain
        };
        if let Some(client) = kept {
            return Ok(client.clone());
        }
        let client = build(encrypted)?;
        Ok(kept.insert(client).clone())
    }

    /// Forgets all connections and names.
    pub(super) fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Made::default();
    }
}

fn build(encrypted: bool) -> Result<reqwest::Client, reqwest::Error> {
    // Fails only where one is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("promptd/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_user_timeout(USER_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MOST_IDLE);
    // A machine without certificates can still speak plain HTTP.
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
