//! A server in this very process, for a home that has none.

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

/// How long we wait for a process that has the home to answer, or to leave.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often we look; neither a lock nor a socket can be waited for with a limit.
const LOOK: Duration = Duration::from_millis(20);

/// How long our readers get to notice that we leave; they come back to whoever hosts next.
const LEAVE: Duration = Duration::from_secs(2);

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

    /// True while it serves.
    pub(crate) fn serves(&self) -> bool {
        !self.server.is_finished()
    }

    /// Stops serving; agents go on, and other clients of ours find or become the next host.
    pub(crate) async fn leave(mut self) {
        self.runtime.begin_shutdown();
        // What comes too late is delivered by whoever hosts next.
        let _late = tokio::time::timeout(self.runtime.settings().grace, self.runtime.flush()).await;
        if tokio::time::timeout(LEAVE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

/// Sees to it that the home has a server: the one that is there, or ours.
///
/// The configuration is read only where we host: that of a running server is its own affair.
pub(crate) async fn connect_or_host(home: &Path) -> Result<Option<Host>, CliError> {
    if answers(home) {
        return Ok(None);
    }
    let flags = Flags::from_environment(Some(home.to_owned()))?;
    let settings = config::load(flags, &config::environment())?;
    let begin = Instant::now();
    loop {
        if let Some(runtime) = start(&settings).await? {
            return Host::serve(runtime).await.map(Some);
        }
        // Somebody is about to serve, or to leave.
        if answers(home) {
            return Ok(None);
        }
        if begin.elapsed() > PATIENCE {
            let reason = "another promptd has this home and does not answer".to_owned();
            return Err(CliError::NoServer {
                place: place(home),
                reason,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes the home for a server, and waits for a predecessor that is about to leave.
pub(crate) async fn take_home(settings: &Settings) -> Result<Arc<Runtime>, CliError> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        if let Some(runtime) = start(settings).await? {
            return Ok(runtime);
        }
        if begin.elapsed() > PATIENCE {
            return Err(RuntimeError::HomeInUse {
                home: settings.home.clone(),
            }
            .into());
        }
        if !told {
            tracing::info!(home = %settings.home.display(), "another promptd serves this home; waiting for it to leave");
            told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Starts a runtime; `None` while another process has the home.
async fn start(settings: &Settings) -> Result<Option<Arc<Runtime>>, RuntimeError> {
    match Runtime::start(settings.clone()).await {
        Ok(runtime) => {
            stdio::hide(runtime.server_mask());
            Ok(Some(runtime))
        }
        Err(RuntimeError::HomeInUse { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Somebody listens on the control socket.
pub(crate) fn answers(home: &Path) -> bool {
    sys::connect_in(home, CONTROL_SOCKET).is_ok()
}

/// The control socket, for people.
pub(crate) fn place(home: &Path) -> String {
    home.join(CONTROL_SOCKET).display().to_string()
}
