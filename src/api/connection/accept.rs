//! Accepts connections and serves each.

use std::convert::Infallible;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::io::{AnswerBody, Placed, Serving};
use super::place::{Place, Places};
use crate::api::http::peer::Peer;
use crate::api::stream::feed::wait_for_shutdown;

/// What is read ahead of a request, or waits to be written of an answer: a reader that stalls costs this and one block.
const BUFFER: usize = 64 << 10;

/// What answers connections, and places for so many of them.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) app: Router,
    pub(crate) places: Arc<Places>,
}

/// Serves the connections of a listener until the server shuts down, and then those that are there to their end. Those
/// that find no place come to the door of the `refused`, and those that find none there either are closed.
pub(crate) async fn accept<L: Listener>(
    mut listener: L,
    callers: Door,
    refused: Door,
    shutdown: watch::Receiver<bool>,
    peer: impl Fn(&L::Io) -> Option<Peer>,
) {
    let mut connections = JoinSet::new();
    let mut down = shutdown.clone();
    loop {
        let stream = tokio::select! {
            (stream, _address) = listener.accept() => stream,
            () = wait_for_shutdown(&mut down) => break,
        };
        while connections.try_join_next().is_some() {}
        let (place, app) = match callers.places.take().await {
            Some(place) => (Some(place), &callers.app),
            None => (refused.places.take().await, &refused.app),
        };
        if let Some(place) = place {
            let peer = peer(&stream);
            connections.spawn(serve(stream, peer, place, app.clone(), shutdown.clone()));
        }
    }
    drop(listener);
    connections.join_all().await;
}

/// Serves one connection.
async fn serve<S>(stream: S, peer: Option<Peer>, place: Arc<Place>, app: Router, mut shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = TowerToHyperService::new(app);
    let served = Arc::clone(&place);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        let serving = Serving::new(&served);
        let (place, answer) = (Arc::clone(&served), app.call(request.map(Body::new)));
        async move {
            let Ok(answer) = answer.await;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                place.upgrade();
            }
            Ok::<Response<AnswerBody>, Infallible>(answer.map(|body| AnswerBody {
                body,
                _serving: serving,
            }))
        }
    });
    let stream = TokioIo::new(Placed::new(stream, Arc::clone(&place)));
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER);
    let mut connection = pin!(http.serve_connection(stream, service).with_upgrades());
    let mut has_to_go = pin!(place.has_to_go());
    let mut is_ending = false;
    loop {
        tokio::select! {
            biased;
            // A connection that breaks off is the caller's affair.
            _ended = connection.as_mut() => return,
            () = &mut has_to_go => return,
            () = wait_for_shutdown(&mut shutdown), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
