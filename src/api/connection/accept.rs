//! Accepts connections and serves each.

use std::convert::Infallible;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::io::{ActiveRequest, TrackedBody, TrackedStream};
use super::limit::{ClientConnection, ClientConnections};
use crate::api::http::peer::Peer;
use crate::api::stream::feed::wait_for_shutdown;

/// What is read ahead of a request, or waits to be written of an answer: a reader that stalls costs this and one block.
const BUFFER: usize = 64 << 10;

/// What answers connections, and how many there may be.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) app: Router,
    pub(crate) connections: Arc<ClientConnections>,
}

/// Serves the connections of a listener until the server shuts down, and then those that are there to their end. Those
/// beyond the bound are answered by `refused`, and those beyond the bound of that are closed.
pub(crate) async fn accept<L: Listener>(
    mut listener: L,
    callers: Endpoint,
    refused: Endpoint,
    shutdown: watch::Receiver<bool>,
    peer: impl Fn(&L::Io) -> Option<Peer>,
) where
    L::Io: AsRawFd,
{
    let mut tasks = JoinSet::new();
    let mut down = shutdown.clone();
    loop {
        let stream = tokio::select! {
            (stream, _address) = listener.accept() => stream,
            () = wait_for_shutdown(&mut down) => break,
        };
        while tasks.try_join_next().is_some() {}
        let (client, app) = match callers.connections.take().await {
            Some(client) => (Some(client), &callers.app),
            None => (refused.connections.take().await, &refused.app),
        };
        if let Some(client) = client {
            let peer = peer(&stream);
            tasks.spawn(serve(stream, peer, client, app.clone(), shutdown.clone()));
        }
    }
    drop(listener);
    tasks.join_all().await;
}

/// Serves one connection.
async fn serve<S>(
    stream: S,
    peer: Option<Peer>,
    client: Arc<ClientConnection>,
    app: Router,
    mut shutdown: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + 'static,
{
    let app = TowerToHyperService::new(app);
    let served = Arc::clone(&client);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let active = ActiveRequest::new(&served);
        let (client, answer) = (Arc::clone(&served), app.call(request.map(Body::new)));
        async move {
            let Ok(answer) = answer.await;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                client.upgrade();
            }
            Ok::<Response<TrackedBody>, Infallible>(answer.map(|body| TrackedBody { body, _active: active }))
        }
    });
    // Open as long as the connection below.
    let socket = stream.as_raw_fd();
    let stream = TokioIo::new(TrackedStream::new(stream, Arc::clone(&client)));
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER);
    let mut connection = pin!(http.serve_connection(stream, service).with_upgrades());
    let mut must_close = pin!(client.must_close());
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            // A connection that breaks off is the caller's affair.
            _ended = connection.as_mut() => return,
            () = &mut must_close => {
                if !has_unread_bytes(socket) {
                    return;
                }
                // The kernel has a request that we have not been told of yet. Closed now, it would be lost in a reset.
                must_close.set(client.must_close());
                tokio::task::yield_now().await;
            }
            () = wait_for_shutdown(&mut shutdown), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn has_unread_bytes(socket: RawFd) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(socket, &mut [0], flags).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn request_that_nobody_has_read_is_seen() {
        let (mut caller, mut server) = UnixStream::pair().unwrap();
        let socket = server.as_raw_fd();
        assert!(!has_unread_bytes(socket), "it waits");
        caller.write_all(b"G").unwrap();
        assert!(has_unread_bytes(socket));
        server.read_exact(&mut [0]).unwrap();
        assert!(!has_unread_bytes(socket));
        drop(caller);
        assert!(!has_unread_bytes(socket), "the caller has gone");
    }
}
