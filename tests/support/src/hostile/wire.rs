//! HTTP/1.1 as far as a backend needs it: heads by httparse, bodies with a length, in chunks, in gzip.

use std::io::{self, Read as _};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A request; the body is empty until it has been read.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// Path and query; with the whole URL where it came as to a proxy.
    pub path: String,
    /// Names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
    /// The body as it was before compression.
    pub body: Vec<u8>,
    /// The body as it was on the wire.
    pub wire: Vec<u8>,
}

impl Request {
    /// A header; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The `Idempotency-Key`.
    pub fn key(&self) -> &str {
        self.header("idempotency-key")
    }

    /// The session that the batch is from.
    pub fn session(&self) -> &str {
        self.header("promptd-session")
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn ok() -> Self {
        Self::status(200)
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Not now; after so many seconds.
    pub fn retry_after(status: u16, seconds: u64) -> Self {
        Self::status(status).header("Retry-After", seconds.to_string())
    }

    /// Not now; not before that moment, in the words of HTTP, which know whole seconds only.
    pub fn retry_at(status: u16, when: jiff::Timestamp) -> Self {
        let date = when.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        Self::status(status).header("Retry-After", date)
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {} As Told\r\nContent-Length: {}\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// How fast a body is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) bytes: usize,
    pub(super) pause: Duration,
}

/// As fast as it comes.
pub(super) const AT_ONCE: Pace = Pace {
    bytes: 64 << 10,
    pause: Duration::ZERO,
};

/// What has come from a connection and was not used yet.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// The head of the next request; `None` when the client ends the connection instead.
    pub(super) async fn head(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, length)) = parse(&self.bytes)? {
                self.bytes.drain(..length);
                return Ok(Some(request));
            }
            if !self.more(stream, AT_ONCE).await? {
                return Ok(None);
            }
        }
    }

    /// Reads the body into the request.
    pub(super) async fn body(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        request: &mut Request,
        pace: Pace,
    ) -> io::Result<()> {
        if request.header("transfer-encoding") == "chunked" {
            loop {
                let line = self.line(stream, pace).await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(invalid)?;
                let chunk = self.exactly(stream, size, pace).await?;
                request.wire.extend(chunk);
                self.line(stream, pace).await?;
                if size == 0 {
                    break;
                }
            }
        } else {
            let length = match request.header("content-length") {
                "" => 0,
                text => text.parse().map_err(invalid)?,
            };
            request.wire = self.exactly(stream, length, pace).await?;
        }
        request.body = match request.header("content-encoding") {
            "" => request.wire.clone(),
            "gzip" => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(request.wire.as_slice()).read_to_end(&mut plain)?;
                plain
            }
            other => return Err(invalid(format!("content-encoding {other}"))),
        };
        Ok(())
    }

    async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin), pace: Pace) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memmem::find(&self.bytes, b"\r\n") {
                let line: Vec<u8> = self.bytes.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(invalid);
            }
            self.must_have_more(stream, pace).await?;
        }
    }

    async fn exactly(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        length: usize,
        pace: Pace,
    ) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() < length {
            if self.bytes.is_empty() {
                self.must_have_more(stream, pace).await?;
            }
            let count = self.bytes.len().min(length - body.len()).min(pace.bytes);
            body.extend(self.bytes.drain(..count));
            if !pace.pause.is_zero() {
                tokio::time::sleep(pace.pause).await;
            }
        }
        Ok(body)
    }

    async fn must_have_more(&mut self, stream: &mut (impl AsyncRead + Unpin), pace: Pace) -> io::Result<()> {
        if self.more(stream, pace).await? {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Whether there was more.
    async fn more(&mut self, stream: &mut (impl AsyncRead + Unpin), pace: Pace) -> io::Result<bool> {
        let mut room = vec![0; pace.bytes];
        let count = stream.read(&mut room).await?;
        self.bytes.extend_from_slice(&room[..count]);
        Ok(count > 0)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let headers = head.headers.iter();
    let headers = headers.map(|header| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_ascii_lowercase(), value)
    });
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: head.path.unwrap_or_default().to_owned(),
        headers: headers.collect(),
        ..Request::default()
    };
    Ok(Some((request, length)))
}
