//! A WebSocket connection: its upgrade, its two halves, its pings and its end.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{Mutex, watch};

use crate::api::http::auth::requested_protocol;
use crate::api::http::keepalive::PingMonitor;
use crate::api::http::problem::Problem;
use crate::api::state::SharedState;
use crate::api::stream::feed::{Feed, wait_for_shutdown};
use crate::api::stream::lines::{LineFeed, LineStep};
use promptd_agents::updates::Line;

/// Often enough that no proxy closes the connection as idle.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// A request to become a WebSocket.
///
/// Handlers take it as a `Result`, so that they can refuse other mistakes first.
pub(crate) struct Upgrade(WebSocketUpgrade);

impl FromRequestParts<SharedState> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &SharedState) -> Result<Self, Problem> {
        let upgrade = WebSocketUpgrade::from_request_parts(parts, api).await;
        let upgrade = upgrade.map_err(|rejection| {
            let detail = format!("this call speaks WebSocket ({rejection}); for plain HTTP use …/events");
            Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
                .with_header(UPGRADE, "websocket")
                .with_header(CONNECTION, "upgrade")
        })?;
        let limit = api.body_limit();
        let mut upgrade = upgrade.max_message_size(limit).max_frame_size(limit);
        // The protocol that carried the token is echoed, or else browsers close the connection.
        let protocol = requested_protocol(&parts.headers);
        if let Some(protocol) = protocol.and_then(|protocol| HeaderValue::try_from(protocol).ok()) {
            upgrade.set_selected_protocol(protocol);
        }
        Ok(Self(upgrade))
    }
}

impl Upgrade {
    /// Serves the connection until `serve` ends, the client is gone, or the server shuts down.
    ///
    /// `serve` returns how to close, or nothing where the client has gone.
    pub(crate) fn serve<F>(
        self,
        api: &SharedState,
        serve: impl FnOnce(Arc<Sender>, Receiver) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = Result<CloseFrame, Disconnected>> + Send + 'static,
    {
        let open = api.websockets.subscribe();
        let (mut shutdown, connection_breaks) = (api.runtime.shutdown.subscribe(), api.runtime.machine.breaks());
        self.0.on_upgrade(move |socket| async move {
            let (sender, receiver) = split(socket);
            tokio::select! {
                closed = serve(Arc::clone(&sender), receiver) => {
                    if let Ok(frame) = closed {
                        sender.close(frame).await;
                    }
                }
                () = sender.ping(connection_breaks) => {}
                () = wait_for_shutdown(&mut shutdown) => sender.close(shutting_down()).await,
            }
            drop(open);
        })
    }
}

/// The sending half of a connection.
pub(crate) struct Sender {
    sink: Mutex<SplitSink<WebSocket, Message>>,
    monitor: Arc<PingMonitor>,
}

/// The receiving half of a connection.
pub(crate) struct Receiver {
    stream: SplitStream<WebSocket>,
    monitor: Arc<PingMonitor>,
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Disconnected;

fn split(socket: WebSocket) -> (Arc<Sender>, Receiver) {
    let (sink, stream) = socket.split();
    let monitor = Arc::new(PingMonitor::default());
    let sender = Sender {
        sink: Mutex::new(sink),
        monitor: Arc::clone(&monitor),
    };
    (Arc::new(sender), Receiver { stream, monitor })
}

impl Sender {
    /// Sends one text message.
    pub(crate) async fn send_text(&self, text: String) -> Result<(), Disconnected> {
        self.send(Message::text(text)).await
    }

    async fn send(&self, message: Message) -> Result<(), Disconnected> {
        self.sink.lock().await.send(message).await.map_err(|_| Disconnected)
    }

    /// Sends each line as a message.
    async fn send_lines(&self, lines: Vec<Line>) -> Result<(), Disconnected> {
        let mut sink = self.sink.lock().await;
        for line in lines {
            // The journal is JSON, hence UTF-8; a damaged line is repaired rather than left out.
            let text = Utf8Bytes::try_from(line.text.clone())
                .unwrap_or_else(|_| String::from_utf8_lossy(&line.text).into_owned().into());
            sink.feed(Message::Text(text)).await.map_err(|_| Disconnected)?;
        }
        sink.flush().await.map_err(|_| Disconnected)
    }

    /// Sends the lines of a feed until it ends; returns how to close.
    pub(crate) async fn send_feed(&self, feed: Feed) -> Result<CloseFrame, Disconnected> {
        let mut feed = LineFeed::new(feed);
        loop {
            match feed.next().await {
                Ok(LineStep::Lines(lines)) => self.send_lines(lines).await?,
                Ok(LineStep::End) => return Ok(close_frame(close_code::NORMAL, "end")),
                Ok(LineStep::Shutdown) => return Ok(shutting_down()),
                Err(_) => return Ok(close_frame(close_code::ERROR, "the journal cannot be read")),
            }
            self.record_activity();
        }
    }

    /// The client has taken what was sent: a slow reader answers a ping only after all that. The kernel finds a client
    /// that reads nothing at all.
    pub(crate) fn record_activity(&self) {
        self.monitor.record_activity();
    }

    async fn close(&self, frame: CloseFrame) {
        // A client that is gone needs no close frame.
        drop(self.send(Message::Close(Some(frame))).await);
    }

    /// Pings the client at an interval, and at once when connections may have broken; ends when the client is gone.
    async fn ping(&self, mut connection_breaks: watch::Receiver<u64>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PING_INTERVAL) => {}
                _ = connection_breaks.changed() => {}
            }
            if !self.monitor.count_ping() || self.send(Message::Ping(Bytes::new())).await.is_err() {
                return;
            }
        }
    }
}

impl Receiver {
    /// The next message as text.
    pub(crate) async fn next_text(&mut self) -> Result<Result<Utf8Bytes, Problem>, Disconnected> {
        self.monitor.set_reading(true);
        let text = self.read_text().await;
        self.monitor.set_reading(false);
        text.ok_or(Disconnected)
    }

    async fn read_text(&mut self) -> Option<Result<Utf8Bytes, Problem>> {
        loop {
            let message = self.stream.next().await?.ok()?;
            self.monitor.record_activity();
            match message {
                Message::Text(text) => return Some(Ok(text)),
                Message::Binary(bytes) => {
                    let not_text =
                        |_| Problem::bad_request("invalid_message", "the message is binary and not UTF-8; send text");
                    return Some(Utf8Bytes::try_from(bytes).map_err(not_text));
                }
                // The library answers pings, and a close when the stream is read again.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
            }
        }
    }
}

fn close_frame(code: u16, reason: &'static str) -> CloseFrame {
    let reason = Utf8Bytes::from_static(reason);
    CloseFrame { code, reason }
}

/// Has a client reconnect to the next server.
fn shutting_down() -> CloseFrame {
    close_frame(close_code::RESTART, "the server restarts; connect again with ?after=")
}
