//! A WebSocket connection: its upgrade, its two halves, its pings and its end.
//!
//! A message that is larger than a block goes out in fragments (RFC 6455, 5.4), and what waits to be written is bounded, so
//! a client that reads nothing costs no more than that.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::{Mutex, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::api::http::auth::requested_protocol;
use crate::api::http::body::memory::{BodyMemory, BodyMemoryPermit};
use crate::api::http::keepalive::PingMonitor;
use crate::api::http::line_breaks::escape;
use crate::api::http::problem::Problem;
use crate::api::state::SharedState;
use crate::api::stream::bounded::{BoundedStream, MessageBudget};
use crate::api::stream::feed::{Feed, Step, wait_for_shutdown};
use crate::api::stream::fragments::{Fragment, Fragmenter, fragments};

pub(crate) use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Often enough that no proxy closes the connection as idle.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// What is collected before it is written.
const WRITE_BUFFER: usize = 64 << 10;

/// The most that waits to be written: a block, and the answers to some thousand pings.
const MAX_WRITE_BUFFER: usize = 1 << 20;

type Connection = WebSocketStream<BoundedStream<TokioIo<Upgraded>>>;

/// A request to become a WebSocket.
///
/// Handlers take it as a `Result`, so that they can refuse other mistakes first.
pub(crate) struct Upgrade {
    connection: OnUpgrade,
    /// Proves to the client that its request was understood.
    accept: HeaderValue,
    /// The protocol that carried the token is echoed, or else browsers close the connection.
    protocol: Option<HeaderValue>,
    memory: BodyMemory,
    limit: usize,
}

impl FromRequestParts<SharedState> for Upgrade {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &SharedState) -> Result<Self, Problem> {
        let connection = parts.extensions.get::<OnUpgrade>().cloned();
        let checked = WebSocketUpgrade::from_request_parts(parts, api).await;
        let refused = |reason: String| {
            let detail = format!("this call speaks WebSocket ({reason}); for plain HTTP use …/events");
            Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
                .with_header(UPGRADE, "websocket")
                .with_header(CONNECTION, "upgrade")
        };
        drop(checked.map_err(|rejection| refused(rejection.to_string()))?);
        let key = parts.headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let accept = key.and_then(|key| HeaderValue::try_from(derive_accept_key(key)).ok());
        let (Some(connection), Some(accept)) = (connection, accept) else {
            return Err(refused("the Sec-WebSocket-Key is missing".to_owned()));
        };
        let protocol = requested_protocol(&parts.headers);
        Ok(Self {
            connection,
            accept,
            protocol: protocol.and_then(|protocol| HeaderValue::try_from(protocol).ok()),
            memory: api.body_memory.clone(),
            limit: api.body_limit(),
        })
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
        let Self {
            connection,
            accept,
            protocol,
            memory,
            limit,
        } = self;
        tokio::spawn(async move {
            // A client that hung up before needs no connection.
            let Ok(upgraded) = connection.await else { return };
            let monitor = Arc::new(PingMonitor::default());
            let stream = BoundedStream::new(TokioIo::new(upgraded), memory, Arc::clone(&monitor));
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config(limit))).await;
            let (sender, receiver) = split(socket, monitor);
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
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        headers.extend(protocol.map(|protocol| (SEC_WEBSOCKET_PROTOCOL, protocol)));
        response
    }
}

fn config(limit: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
}

/// The sending half of a connection.
pub(crate) struct Sender {
    sink: Mutex<SplitSink<Connection, Message>>,
    monitor: Arc<PingMonitor>,
}

/// The receiving half of a connection.
pub(crate) struct Receiver {
    stream: SplitStream<Connection>,
    monitor: Arc<PingMonitor>,
    budget: MessageBudget,
    /// The message before is being handled, and keeps its memory.
    memory: Option<BodyMemoryPermit>,
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Disconnected;

fn split(socket: Connection, monitor: Arc<PingMonitor>) -> (Arc<Sender>, Receiver) {
    let budget = socket.get_ref().budget();
    let (sink, stream) = socket.split();
    let sender = Sender {
        sink: Mutex::new(sink),
        monitor: Arc::clone(&monitor),
    };
    let memory = None;
    let receiver = Receiver {
        stream,
        monitor,
        budget,
        memory,
    };
    (Arc::new(sender), receiver)
}

impl Sender {
    /// Sends one text message.
    pub(crate) async fn send_text(&self, text: String) -> Result<(), Disconnected> {
        let mut sink = self.sink.lock().await;
        for fragment in fragments(escape(text.into())) {
            sink.feed(message(fragment)).await.map_err(|_| Disconnected)?;
        }
        sink.flush().await.map_err(|_| Disconnected)
    }

    async fn send(&self, message: Message) -> Result<(), Disconnected> {
        self.sink.lock().await.send(message).await.map_err(|_| Disconnected)
    }

    /// Sends the lines of a feed until it ends, each as a message; returns how to close.
    pub(crate) async fn send_feed(&self, mut feed: Feed) -> Result<CloseFrame, Disconnected> {
        let mut fragmenter = Fragmenter::default();
        loop {
            // No other message may come between the fragments of one, so the sink is kept until a line is complete.
            let mut sink = None;
            loop {
                let fragments = match feed.next(fragmenter.seq()).await {
                    Ok(Step::Piece(piece)) => fragmenter.push(&piece),
                    Ok(Step::Lines(lines)) => lines.into_iter().flat_map(|line| fragments(line.text)).collect(),
                    Ok(Step::Silence) => continue,
                    Ok(Step::End) => return Ok(close_frame(CloseCode::Normal, "end")),
                    Ok(Step::Shutdown) => return Ok(shutting_down()),
                    Err(_) => return Ok(close_frame(CloseCode::Error, "the journal cannot be read")),
                };
                let sink = match &mut sink {
                    Some(sink) => sink,
                    none => none.insert(self.sink.lock().await),
                };
                for fragment in fragments {
                    sink.feed(message(fragment)).await.map_err(|_| Disconnected)?;
                }
                sink.flush().await.map_err(|_| Disconnected)?;
                self.record_activity();
                if !fragmenter.is_in_line() {
                    break;
                }
            }
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
        self.release_memory();
        self.monitor.set_reading(true);
        let text = self.read_text().await;
        self.memory = text.as_ref().and_then(|_| self.budget.finish_message());
        self.monitor.set_reading(false);
        text.ok_or(Disconnected)
    }

    /// The message is handled: its memory is free while the answer is on its way.
    pub(crate) fn release_memory(&mut self) {
        self.memory = None;
    }

    async fn read_text(&mut self) -> Option<Result<Utf8Bytes, Problem>> {
        loop {
            let message = self.stream.next().await?.ok()?;
            match message {
                Message::Text(text) => return Some(Ok(text)),
                Message::Binary(bytes) => {
                    let not_text =
                        |_| Problem::bad_request("invalid_message", "the message is binary and not UTF-8; send text");
                    return Some(Utf8Bytes::try_from(bytes).map_err(not_text));
                }
                // The library answers pings, and a close when the stream is read again.
                Message::Ping(payload) | Message::Pong(payload) => self.budget.skip(payload.len()),
                Message::Close(_) | Message::Frame(_) => {}
            }
        }
    }
}

/// A fragment as a frame of a text message.
fn message(fragment: Fragment) -> Message {
    let kind = if fragment.first { Data::Text } else { Data::Continue };
    Message::Frame(Frame::message(fragment.bytes, OpCode::Data(kind), fragment.last))
}

fn close_frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    let reason = Utf8Bytes::from_static(reason);
    CloseFrame { code, reason }
}

/// Has a client reconnect to the next server.
fn shutting_down() -> CloseFrame {
    close_frame(CloseCode::Restart, "the server restarts; connect again with ?after=")
}
