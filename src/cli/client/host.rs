//! A server in this process, for a home that has none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api::{CONTROL_SOCKET, Listeners, Server};
use crate::cli::error::CliError;
use crate::cli::stdio;
use crate::runtime::config::{self, Flags};
use crate::runtime::{Runtime, RuntimeError, Settings};
use promptd_sys as sys;

/// How long another process that has the home may take to answer, or to release it.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// How often to check: there is no wait with a timeout for a lock or a socket.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// How long connected readers have to disconnect; they reconnect to the next server.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A server in this process.
#[derive(Debug)]
pub(crate) struct Host {
    runtime: Arc<Runtime>,
    server: JoinHandle<()>,
}

impl Host {
    async fn serve(runtime: Arc<Runtime>) -> Result<Self, CliError> {
        let server = Server::bind(Arc::clone(&runtime), Listeners::ControlOnly).await?;
        Ok(Self {
            runtime,
            server: tokio::spawn(server.run()),
        })
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.server.is_finished()
    }

    /// Stops the server. Agents keep running; other clients find or become the next host.
    pub(crate) async fn leave(mut self) {
        self.runtime.shutdown.begin();
        // The next server delivers the rest.
        let _late = tokio::time::timeout(self.runtime.settings().grace, self.runtime.delivery.flush()).await;
        if tokio::time::timeout(DISCONNECT_TIMEOUT, &mut self.server)
            .await
            .is_err()
        {
            self.server.abort();
        }
    }
}

/// Makes sure that the home has a server: the one that runs, or one in this process.
///
/// The configuration is read only for a hosted server: a running one has its own.
pub(crate) async fn connect_or_host(home: &Path) -> Result<Option<Host>, CliError> {
    if is_serving(home) {
        return Ok(None);
    }
    let flags = Flags::from_environment(Some(home.to_owned()))?;
    let settings = config::load(flags, &config::environment())?;
    let begin = Instant::now();
    loop {
        if let Some(runtime) = start(&settings).await? {
            return Host::serve(runtime).await.map(Some);
        }
        // Another process is starting or stopping.
        if is_serving(home) {
            return Ok(None);
        }
        if begin.elapsed() > MAX_WAIT {
            let reason = "another promptd has this home but does not answer".to_owned();
            return Err(CliError::NoServer {
                address: socket_path(home),
                reason,
            });
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Starts a runtime in the home; waits for a previous server that is stopping.
pub(crate) async fn take_home(settings: &Settings) -> Result<Arc<Runtime>, CliError> {
    let begin = Instant::now();
    let mut logged = false;
    loop {
        if let Some(runtime) = start(settings).await? {
            return Ok(runtime);
        }
        if begin.elapsed() > MAX_WAIT {
            return Err(RuntimeError::HomeInUse {
                home: settings.home.clone(),
            }
            .into());
        }
        if !logged {
            tracing::info!(home = %settings.home.display(), "another promptd serves this home; waiting until it has stopped");
            logged = true;
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// Starts a runtime; `None` while another process has the home.
async fn start(settings: &Settings) -> Result<Option<Arc<Runtime>>, RuntimeError> {
    match Runtime::start(settings.clone()).await {
        Ok(runtime) => {
            stdio::mask_secrets_of(runtime.masks.of_log());
            Ok(Some(runtime))
        }
        Err(RuntimeError::HomeInUse { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a server listens on the control socket.
pub(crate) fn is_serving(home: &Path) -> bool {
    sys::is_listening(home, CONTROL_SOCKET)
}

/// The path of the control socket, for messages.
pub(crate) fn socket_path(home: &Path) -> String {
    home.join(CONTROL_SOCKET).display().to_string()
}
