//! One connection of the backend: request after request, each as the script wants it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::memory::{Answered, Seen};
use super::wire::{AT_ONCE, Buffer, Pace, Reply, Request};
use super::{Act, Arrival, Shared};

/// How long a client may take to close what it has given up.
const CLOSING: Duration = Duration::from_secs(1);

/// How long what a client still sends is read after it has been answered.
const LINGERING: Duration = Duration::from_secs(2);

/// A stream whose TCP connection can be reset.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// What comes after a request.
enum Next {
    Another,
    Close,
    Reset,
}

/// Serves a caller until it leaves, the script ends it, or the backend goes down.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let number = shared.memory.connected();
    let _nagle = stream.set_nodelay(true);
    match shared.tls.clone() {
        None => run(&shared, stream, number, peer).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => run(&shared, stream, number, peer).await,
            Err(_) => shared.memory.handshake_broken(),
        },
    }
    shared.memory.disconnected();
}

async fn run(shared: &Shared, mut stream: impl Stream, connection: usize, peer: SocketAddr) {
    let mut up = shared.up.subscribe();
    let mut buffer = Buffer::default();
    let all = async {
        loop {
            match one(shared, &mut stream, &mut buffer, connection, peer).await {
                Ok(Next::Another) => {}
                Ok(Next::Close) | Err(_) => return Next::Close,
                Ok(Next::Reset) => return Next::Reset,
            }
        }
    };
    let end = tokio::select! {
        end = all => end,
        _down = up.wait_for(|up| !*up) => Next::Reset,
    };
    if matches!(end, Next::Reset) {
        let _gone = stream.tcp().set_zero_linger();
    }
}

/// Forgets that a request is being worked on, however that ends.
struct Working<'a>(&'a Shared, usize);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.memory.over(self.1);
    }
}

/// Says how a request was answered, however that ends.
struct Answering<'a> {
    shared: &'a Shared,
    at: usize,
    how: Answered,
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.shared.memory.answered(self.at, self.how.clone());
    }
}

async fn one(
    shared: &Shared,
    stream: &mut impl Stream,
    buffer: &mut Buffer,
    connection: usize,
    peer: SocketAddr,
) -> io::Result<Next> {
    let Some(mut request) = buffer.head(stream).await? else {
        return Ok(Next::Close);
    };
    let (at, time) = (Instant::now(), Timestamp::now());
    let (number, tries, others) = shared.memory.begun(&request, peer);
    let working = Working(shared, number);
    for (other, peer) in others {
        if !leaves(shared, other, peer).await {
            let what = format!("{} of {} while {other} was there", request.key(), request.path);
            shared.memory.overlapped(what);
        }
    }
    let script = Arc::clone(&shared.script.lock().unwrap());
    let mut act = script(&Arrival {
        request: &request,
        number,
        tries,
    });
    let (mut pace, mut delay) = (AT_ONCE, Duration::ZERO);
    loop {
        act = match act {
            Act::Slowly(bytes, pause, then) => {
                pace = Pace { bytes, pause };
                *then
            }
            Act::Late(pause, then) => {
                delay = pause;
                *then
            }
            Act::ResetBeforeReading => return Ok(Next::Reset),
            Act::Early(reply) => {
                shared.memory.read(Seen {
                    request: request.clone(),
                    at,
                    time,
                    connection,
                    answered: Answered::Status(reply.status),
                    committed: false,
                });
                drop(working);
                stream.write_all(&reply.bytes()).await?;
                // Not closed at once, so that the kernel does not reset what the client has not read yet.
                let rest = buffer.body(stream, &mut request, AT_ONCE);
                return match tokio::time::timeout(LINGERING, rest).await {
                    Ok(Ok(())) => Ok(Next::Another),
                    _ => Ok(Next::Close),
                };
            }
            other => {
                break act_on(
                    shared,
                    stream,
                    buffer,
                    &mut request,
                    other,
                    pace,
                    delay,
                    (connection, at, time),
                    working,
                )
                .await;
            }
        };
    }
}

/// Reads the body, commits, answers.
#[expect(clippy::too_many_arguments, reason = "all that is known of one request")]
async fn act_on(
    shared: &Shared,
    stream: &mut impl Stream,
    buffer: &mut Buffer,
    request: &mut Request,
    act: Act,
    pace: Pace,
    delay: Duration,
    (connection, at, time): (usize, Instant, Timestamp),
    working: Working<'_>,
) -> io::Result<Next> {
    buffer.body(stream, request, pace).await?;
    let place = shared.memory.read(Seen {
        request: request.clone(),
        at,
        time,
        connection,
        answered: Answered::Pending,
        committed: false,
    });
    // Dropped before `working` is: whoever sees that nobody works on it sees how it was answered.
    let mut answering = Answering {
        shared,
        at: place,
        how: Answered::Gone,
    };
    let reply = match act {
        Act::Answer(reply) => reply,
        Act::Ask(ask) => ask(request),
        Act::AtMost(most) if request.body.len() > most => Reply::status(413),
        Act::AtMost(_) => Reply::ok(),
        Act::ResetAfterCommit => {
            shared.memory.committed(place);
            tokio::time::sleep(delay).await;
            answering.how = Answered::Reset;
            return Ok(Next::Reset);
        }
        Act::Garbage => {
            answering.how = Answered::Garbage;
            drop(answering);
            drop(working);
            stream
                .write_all(b"220 mail.example ESMTP; how may I help?\r\n\r\n")
                .await?;
            return Ok(Next::Close);
        }
        Act::Hang => {
            // Until the client gives up.
            let _end = buffer.head(stream).await?;
            return Ok(Next::Close);
        }
        Act::Slowly(..) | Act::Late(..) | Act::ResetBeforeReading | Act::Early(_) => unreachable!("taken apart before"),
    };
    if reply.is_success() {
        shared.memory.committed(place);
    }
    tokio::time::sleep(delay).await;
    // Before the client can know, so that its next request never seems to overlap with this one.
    answering.how = Answered::Status(reply.status);
    drop(answering);
    drop(working);
    stream.write_all(&reply.bytes()).await?;
    stream.flush().await?;
    Ok(Next::Another)
}

/// Whether another request of the same session is not really there any more: its client was killed or gave up, and the
/// backend has only not noticed, because it is reading slowly what had arrived, or hangs.
async fn leaves(shared: &Shared, other: usize, peer: SocketAddr) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < CLOSING {
        if !established(shared.port, peer.port()) {
            return true;
        }
        if !shared.memory.is_running(other) {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Whether the kernel still has a connection between two ports that neither side has closed.
fn established(ours: u16, theirs: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (ours, theirs) = (format!(":{ours:04X}"), format!(":{theirs:04X}"));
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next(), words.next(), words.next());
        local.is_some_and(|local| local.ends_with(&ours))
            && remote.is_some_and(|remote| remote.ends_with(&theirs))
            && state == Some("01")
    })
}
