//! A client for server-sent events that is not ours.

use futures_util::StreamExt as _;

use super::PATIENCE;

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    pub id: Option<u64>,
    pub event: String,
    pub data: String,
}

/// A stream of server-sent events.
pub struct Sse {
    stream: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    /// How much of the buffer has been read.
    read: usize,
}

impl Sse {
    /// Connects; `None` when there is no server just now.
    pub async fn connect(client: &reqwest::Client, url: &str, last_event_id: Option<u64>) -> Option<Self> {
        let mut request = client.get(url).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let answer = request.send().await.ok()?;
        // A server that goes down says so; anything else is a refusal that no reader expects.
        if answer.status() == 503 {
            return None;
        }
        assert_eq!(answer.status(), 200, "{url} after {last_event_id:?}");
        Some(Self {
            stream: answer.bytes_stream().boxed(),
            buffer: Vec::new(),
            read: 0,
        })
    }

    /// The next event; `None` when the stream has ended, however it ended. Comments and `retry` are passed over.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(length) = memchr::memmem::find(&self.buffer[self.read..], b"\n\n") {
                let end = self.read + length;
                let event = Event::parse(std::str::from_utf8(&self.buffer[self.read..end]).unwrap());
                self.read = end + 2;
                if !event.event.is_empty() {
                    return Some(event);
                }
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            let chunk = tokio::time::timeout(PATIENCE, self.stream.next())
                .await
                .expect("silence for too long");
            self.buffer.extend_from_slice(&chunk?.ok()?);
        }
    }
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => event.id = value.parse().ok(),
                Some(("event", value)) => value.clone_into(&mut event.event),
                Some(("data", value)) => value.clone_into(&mut event.data),
                _ => {}
            }
        }
        event
    }
}
