//! A WebSocket client that is not ours.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{PATIENCE, Server};

/// An open WebSocket.
pub struct Ws {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    /// What the server answered to the upgrade.
    pub upgrade: Response,
}

impl Server {
    /// Connects; fails the test when the server refuses.
    pub async fn ws(&self, path: &str) -> Ws {
        self.try_ws(path, &[]).await.unwrap()
    }

    /// Connects with headers; the error holds the server's refusal.
    pub async fn try_ws(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Ws, Box<Error>> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, upgrade) = connect_async(request).await.map_err(Box::new)?;
        Ok(Ws { socket, upgrade })
    }
}

impl Ws {
    pub async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn command(&mut self, command: Value) {
        self.send(command.to_string()).await;
    }

    /// The next message; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<Value> {
        self.next_within(PATIENCE).await
    }

    pub async fn next_within(&mut self, patience: Duration) -> Option<Value> {
        let next = async {
            loop {
                match self.socket.next().await? {
                    Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        // Pings do not count.
        tokio::time::timeout(patience, next)
            .await
            .expect("silence for too long")
    }

    /// Messages up to and including the first that is wanted.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("closed after {all:?}"));
            all.push(message);
            if all.last().is_some_and(&wanted) {
                return all;
            }
        }
    }

    /// Messages until the server closes.
    pub async fn rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(message) = self.next().await {
            all.push(message);
        }
        all
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
