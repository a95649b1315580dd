//! The platform's own answers to the question which sandbox this is: two services on the network, and a file.

use std::path::Path;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Client, redirect};
use serde::Deserialize;

use crate::runtime::settings::Platform;
use promptd_sys as sys;

/// How long a service may take: they run on this very machine, or next to it.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 << 10;

/// How long the metadata service's token is valid, in seconds: for one question.
const TOKEN_SECONDS: &str = "60";

/// The longest id that is believed.
const MAX_ID: usize = 128;

/// Which sandbox this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The platform's id.
    pub id: String,
    /// Where the id comes from.
    pub source: SandboxSource,
}

/// Where a sandbox's id comes from, the most trustworthy first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxSource {
    /// The metadata service, which the hypervisor answers.
    Metadata,
    /// The platform's events host, which knows a sandbox by its address.
    Events,
    /// The `Host` of a request.
    Host,
    /// The platform's file, which may be late after a resume.
    File,
}

impl SandboxSource {
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

/// Whether anything says that this is a sandbox of the platform.
pub fn is_sandbox(platform: &Platform) -> bool {
    platform.is_e2b || platform.folder.join(".E2B_SANDBOX").exists()
}

/// Asks the metadata service, then the events host.
pub(crate) async fn ask_services(platform: &Platform) -> Option<Sandbox> {
    let client = client()?;
    let metadata = tokio::time::timeout(TIMEOUT, ask_metadata(&client, &platform.metadata)).await;
    if let Ok(Some(id)) = metadata {
        let source = SandboxSource::Metadata;
        return Some(Sandbox { id, source });
    }
    let events = tokio::time::timeout(TIMEOUT, ask_events(&client, &platform.events)).await;
    let source = SandboxSource::Events;
    events.ok().flatten().map(|id| Sandbox { id, source })
}

/// The largest file with an id.
const MAX_ID_FILE: u64 = 4 << 10;

/// The id in the platform's file.
pub(crate) fn read_file(folder: &Path) -> Option<Sandbox> {
    let text = sys::read_regular(&folder.join(".E2B_SANDBOX_ID"), MAX_ID_FILE).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (id, source) = (valid_id(text.trim().to_owned())?, SandboxSource::File);
    Some(Sandbox { id, source })
}

/// The id in `{port}-{id}.{domain}`.
pub(crate) fn id_in_host(host: &str) -> Option<&str> {
    let (first, _domain) = host.split_once('.')?;
    let (port, id) = first.split_once('-')?;
    let is_valid = port.parse::<u16>().is_ok() && id.len() >= 8 && is_valid_id(id);
    is_valid.then_some(id)
}

/// A client for these questions only: its connections and names are dropped with it.
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

async fn ask_metadata(client: &Client, address: &str) -> Option<String> {
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
    valid_id(metadata.instance)
}

async fn ask_events(client: &Client, address: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Me {
        #[serde(rename = "sandboxID")]
        sandbox: String,
    }
    let me: Me = serde_json::from_slice(&body(client.get(format!("{address}/me"))).await?).ok()?;
    valid_id(me.sandbox)
}

/// The body of a successful answer.
async fn body(request: reqwest::RequestBuilder) -> Option<Vec<u8>> {
    let mut answer = request.send().await.ok()?.error_for_status().ok()?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return None;
        }
    }
    Some(body)
}

fn valid_id(id: String) -> Option<String> {
    is_valid_id(&id).then_some(id)
}

/// Whether an id may stand in headers, logs and messages.
fn is_valid_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_in_the_platforms_form_names_a_sandbox() {
        assert_eq!(id_in_host("8080-ixyz12345abcdefgh.e2b.app"), Some("ixyz12345abcdefgh"));
        for other in [
            "127.0.0.1:8080",
            "localhost",
            "my-host.example.com",
            "99999-ixyz12345abcdefgh.e2b.app",
            "8080-x.e2b.app",
            "8080-ixyz12345abcdefgh",
            "8080-ixyz%2e12345abcdefgh.e2b.app",
        ] {
            assert_eq!(id_in_host(other), None, "{other}");
        }
    }
}
