//! Listening: which sockets are open, and how they close.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::api::connection::{ClientConnections, Endpoint, accept};
use crate::api::http::auth::ListenerKind;
use crate::api::http::keepalive::set_keepalive;
use crate::api::http::peer::Peer;
use crate::api::router::{refusals, router};
use crate::api::state::{AppState, SharedState};
use crate::api::stream::feed::wait_for_shutdown;
use crate::runtime::{AuthMode, Listen, Runtime, Settings};
use promptd_keeper::is_of_agent;
use promptd_sys as sys;

/// The control socket's name in the home.
pub const CONTROL_SOCKET: &str = "control.sock";

/// How long the socket's queue may be full before its listener is taken for one that accepts nothing.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

const QUEUE_RETRY: Duration = Duration::from_millis(20);

/// What to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listeners {
    /// All of `settings.listen`, and the control socket.
    All,
    /// The control socket alone: what `promptd run` needs when there is no server.
    ControlOnly,
}

/// The server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{address} is in use by another process; stop that one, or choose another address with --listen")]
    InUse {
        /// The address.
        address: String,
    },
    /// Another server has the home.
    #[error("another promptd serves {home}; stop that one, or choose another home with --home")]
    HomeInUse {
        /// The home.
        home: PathBuf,
    },
    /// Everybody could run anything here.
    #[error(
        "--auth none would let everybody who reaches {address} run commands here; set PROMPTD_TOKEN instead, listen on 127.0.0.1, or add --insecure-public if a network of yours is the boundary"
    )]
    OpenToEverybody {
        /// The address.
        address: SocketAddr,
    },
    /// The path of a Unix socket is taken by something else.
    #[error("{path} is there and is no socket; remove it, or choose another path with --listen unix:PATH")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot listen on {address}; check that the address belongs to this machine and that you may use it")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener, ListenerKind),
    Unix(UnixListener, ListenerKind),
}

/// A server that listens; connections wait until it runs.
#[derive(Debug)]
pub struct Server {
    api: SharedState,
    bound: Vec<Bound>,
}

impl Server {
    /// Opens all listeners.
    pub async fn bind(runtime: Arc<Runtime>, listeners: Listeners) -> Result<Self, ServeError> {
        let settings = runtime.settings();
        let mut server = Self {
            api: Arc::new(AppState::new(runtime)),
            bound: Vec::new(),
        };
        // First, because it tells whether another server has this home.
        server.bind_control(&settings.home).await?;
        if listeners == Listeners::All {
            for listen in &settings.listen {
                match listen {
                    Listen::Tcp(address) => server.bind_tcp(*address, &settings).await?,
                    Listen::Unix(path) => server.bind_unix(path)?,
                }
            }
        }
        Ok(server)
    }

    async fn bind_control(&mut self, home: &Path) -> Result<(), ServeError> {
        if is_other_server_listening(home).await {
            return Err(ServeError::HomeInUse { home: home.to_owned() });
        }
        let listener = listen_unix(home, CONTROL_SOCKET)?;
        self.bound.push(Bound::Unix(listener, ListenerKind::Control));
        Ok(())
    }

    async fn bind_tcp(&mut self, address: SocketAddr, settings: &Settings) -> Result<(), ServeError> {
        let kind = if address.ip().is_loopback() {
            ListenerKind::Loopback
        } else {
            ListenerKind::Public
        };
        check_open(address, kind, settings.auth, settings.insecure_public)?;
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::InUse {
                address: address.to_string(),
            },
            _ => ServeError::Listen {
                address: address.to_string(),
                source,
            },
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?.to_string();
        tracing::info!(address, "listening");
        self.bound.push(Bound::Tcp(listener, kind));
        Ok(())
    }

    fn bind_unix(&mut self, path: &Path) -> Result<(), ServeError> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let address = format!("unix:{}", path.display());
        if std::fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            return Err(ServeError::NotASocket { path: path.to_owned() });
        }
        if sys::is_listening(folder, &name) {
            return Err(ServeError::InUse { address });
        }
        let listener = listen_unix(folder, &name)?;
        tracing::info!(address, "listening");
        self.bound.push(Bound::Unix(listener, ListenerKind::Unix));
        Ok(())
    }

    /// Serves until the runtime shuts down, and then for as long as the grace allows to end what is under way.
    pub async fn run(self) {
        let runtime = Arc::clone(&self.api.runtime);
        let mut serving = JoinSet::new();
        let files = runtime.open_files();
        let (callers, control) = (
            ClientConnections::new(files.callers),
            ClientConnections::new(files.control),
        );
        let refused = Endpoint {
            app: refusals(Arc::clone(&self.api), files.callers),
            connections: ClientConnections::new(files.refused),
        };
        for bound in self.bound {
            let (Bound::Tcp(_, kind) | Bound::Unix(_, kind)) = &bound;
            let connections = if *kind == ListenerKind::Control {
                &control
            } else {
                &callers
            };
            let endpoint = Endpoint {
                app: router(Arc::clone(&self.api), *kind),
                connections: Arc::clone(connections),
            };
            let (refused, down) = (refused.clone(), runtime.shutdown.subscribe());
            match bound {
                Bound::Tcp(listener, _) => {
                    let listener = listener.tap_io(|connection| {
                        // A connection that is gone already tells so when it is read.
                        let _gone = set_keepalive(connection);
                    });
                    serving.spawn(accept(listener, endpoint, refused, down, |_| None));
                }
                Bound::Unix(listener, _) => {
                    serving.spawn(accept(listener, endpoint, refused, down, |stream| {
                        Some(Peer::of(stream))
                    }));
                }
            }
        }
        let mut shutdown = runtime.shutdown.subscribe();
        tokio::select! {
            () = wait_for_shutdown(&mut shutdown) => {}
            // A listener without connections ends with the shutdown. Then those of the others still have their time.
            Some(ended) = serving.join_next() => if !runtime.shutdown.has_begun() {
                let error = ended.err().map(|error| error.to_string());
                tracing::error!(error, "a listener has ended though the server does not shut down");
                return;
            }
        }
        let grace = runtime.settings().grace;
        let over = async {
            serving.join_all().await;
            // WebSockets have left HTTP behind, and are waited for by themselves.
            self.api.websockets.closed().await;
        };
        if tokio::time::timeout(grace, over).await.is_err() {
            tracing::warn!(?grace, "some connections did not end in time and are cut off");
        }
    }
}

/// Whether another server listens on the control socket. This one has the home's lock, so it may also be a process of an
/// agent, which would keep every server out.
async fn is_other_server_listening(home: &Path) -> bool {
    let begun = Instant::now();
    let pid = loop {
        match sys::connect_unix(home, CONTROL_SOCKET) {
            Ok(stream) => break sys::peer_pid(&stream),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return false,
            // No server leaves callers waiting so long.
            Err(_) if begun.elapsed() > QUEUE_TIMEOUT => break None,
            Err(_) => tokio::time::sleep(QUEUE_RETRY).await,
        }
    };
    let is_server = match pid {
        Some(pid) => sys::identity(pid).is_some() && !is_of_agent(pid, &home.join("sessions")),
        None => begun.elapsed() <= QUEUE_TIMEOUT,
    };
    if !is_server {
        tracing::warn!(
            pid,
            "a process of an agent listens in the place of the control socket, which is replaced"
        );
    }
    is_server
}

fn check_open(
    address: SocketAddr,
    kind: ListenerKind,
    auth: AuthMode,
    insecure_public: bool,
) -> Result<(), ServeError> {
    match (auth, kind) {
        (AuthMode::None, ListenerKind::Public) if !insecure_public => Err(ServeError::OpenToEverybody { address }),
        (AuthMode::None | AuthMode::Token | AuthMode::E2b, _) => Ok(()),
    }
}

fn listen_unix(folder: &Path, name: &str) -> Result<UnixListener, ServeError> {
    let path = folder.join(name);
    let listen = || {
        let listener = sys::bind_unix(folder, name)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    };
    listen().map_err(|source| ServeError::Listen {
        address: format!("unix:{}", path.display()),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_auth_on_a_public_address_has_to_be_meant() {
        let address: SocketAddr = "0.0.0.0:80".parse().unwrap();
        assert!(check_open(address, ListenerKind::Public, AuthMode::None, false).is_err());
        assert!(check_open(address, ListenerKind::Public, AuthMode::None, true).is_ok());
        assert!(check_open(address, ListenerKind::Public, AuthMode::Token, false).is_ok());
        assert!(check_open(address, ListenerKind::Loopback, AuthMode::None, false).is_ok());
    }
}
