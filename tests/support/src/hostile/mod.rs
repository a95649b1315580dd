//! A backend that behaves as badly as it is told to, and remembers everything.
//!
//! It listens on 127.0.0.1 in a thread of its own, so that a test that blocks does not stop it. A script decides for
//! each request what becomes of it. A request is *committed* when the backend has taken it over, whether or not the
//! client ever learns of it.

mod connection;
mod judge;
mod memory;
pub mod stores;
mod tls;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use judge::{Judged, UPDATES, judge};
pub use memory::{Answered, Log, Seen};
pub use tls::{Certificate, authority, stranger};
pub use wire::{Reply, Request};

use super::{PATIENCE, Wait};
use memory::Memory;

/// What becomes of a request.
#[derive(Clone)]
pub enum Act {
    /// An answer; the request is committed when it is a 2xx.
    Answer(Reply),
    /// An answer that depends on the body.
    Ask(Arc<dyn Fn(&Request) -> Reply + Send + Sync>),
    /// 413 when the body, as it was before compression, is larger; else 200.
    AtMost(usize),
    /// Answers before it has read the body, as front ends do with what they find too large; nothing is committed.
    Early(Reply),
    /// Reads the body so many bytes at a time, with a pause after each; then the other.
    Slowly(usize, Duration, Box<Act>),
    /// Does the other, but answers only after a while.
    Late(Duration, Box<Act>),
    /// Reads the request, and never answers.
    Hang,
    /// Takes the request over, and resets the connection instead of saying so.
    ResetAfterCommit,
    /// Resets the connection without having read a body.
    ResetBeforeReading,
    /// Answers something that is not HTTP.
    Garbage,
}

/// What a script knows of a request when it decides.
#[derive(Debug)]
pub struct Arrival<'a> {
    pub request: &'a Request,
    /// How many requests came before.
    pub number: usize,
    /// How many of those had the same `Idempotency-Key`.
    pub tries: usize,
}

/// Decides on a request by its head; the body has not been read yet.
pub type Script = Arc<dyn Fn(&Arrival<'_>) -> Act + Send + Sync>;

/// What connections share.
struct Shared {
    script: Mutex<Script>,
    memory: Memory,
    up: watch::Sender<bool>,
    tls: Option<TlsAcceptor>,
    port: u16,
}

/// A backend; it is gone when this is dropped.
pub struct Backend {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    /// Bound and never listening: while the backend is down, nobody else gets its port.
    _port: TcpSocket,
}

impl Backend {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::new(None)
    }

    /// The same behind TLS.
    pub fn with_tls(certificate: Certificate) -> Self {
        Self::new(Some(certificate.acceptor()))
    }

    fn new(tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let port = bound(0);
        let address = port.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(|_| Act::Answer(Reply::ok()))),
            memory: Memory::new(),
            up: watch::Sender::new(true),
            tls,
            port: address.port(),
        });
        // Before anybody can call it, so that nobody meets a closed door.
        let listener = listener(address.port());
        runtime.spawn(accept(Arc::clone(&shared), listener));
        drop(guard);
        Self {
            shared,
            runtime: Some(runtime),
            _port: port,
        }
    }

    /// What becomes of requests from now on.
    pub fn script(&self, script: impl Fn(&Arrival<'_>) -> Act + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// From now on always the same.
    pub fn always(&self, act: Act) {
        self.script(move |_| act.clone());
    }

    /// From now on everything is taken.
    pub fn behave(&self) {
        self.always(Act::Answer(Reply::ok()));
    }

    /// Closes the door and resets every connection; the port stays reserved.
    pub fn go_down(&self) {
        self.shared.up.send_replace(false);
    }

    /// Opens the door again, on the same port.
    pub fn come_up(&self) {
        self.shared.up.send_replace(true);
    }

    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// `http://127.0.0.1:port`, or `https` where it speaks TLS.
    pub fn origin(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Looks at what has happened so far.
    pub fn look<T>(&self, at: impl FnOnce(&Log) -> T) -> T {
        self.shared.memory.look(at)
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Arc<Seen>> {
        self.look(|log| log.requests.clone())
    }

    /// Those that were taken over.
    pub fn committed(&self) -> Vec<Arc<Seen>> {
        let mut requests = self.requests();
        requests.retain(|request| request.committed);
        requests
    }

    /// Waits until what has happened is as wanted; says what was wanted when that does not come.
    pub async fn wait_until(&self, what: &str, condition: impl FnMut(&Log) -> bool) {
        self.wait_for(what, PATIENCE, condition).await;
    }

    /// The same with more patience.
    pub async fn wait_for(&self, what: &str, patience: Duration, mut condition: impl FnMut(&Log) -> bool) {
        let mut changes = self.shared.memory.changes();
        let mut wait = Wait::with_patience(what, patience);
        loop {
            let state = || {
                let tail = self.requests().into_iter().rev().take(20);
                let tail: Vec<_> = tail.map(|seen| seen.line()).collect();
                format!("the backend's requests, latest first:\n{}", tail.join("\n"))
            };
            // The number of the latest change is taken before looking, so that none is slept through.
            let seen = if self.look(&mut condition) {
                Ok(())
            } else {
                Err(state())
            };
            if wait.look(seen).is_some() {
                return;
            }
            let _none = tokio::time::timeout(patience / 20, changes.changed()).await;
        }
    }

    /// Waits until a session's records up to `last` are there.
    pub async fn wait_for_record(&self, path: &str, session: &str, last: u64) {
        let what = format!("the arrival of record {last} of {session}");
        self.wait_until(&what, |log| log.last_seq(path, session) >= last).await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A socket on a port (0: any) of 127.0.0.1, which it shares with others of ours.
fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    socket
}

fn listener(port: u16) -> TcpListener {
    bound(port).listen(4096).unwrap()
}

/// Lets callers in while the backend is up.
async fn accept(shared: Arc<Shared>, first: TcpListener) {
    let mut up = shared.up.subscribe();
    let mut next = Some(first);
    loop {
        if up.wait_for(|up| *up).await.is_err() {
            return;
        }
        let listener = next.take().unwrap_or_else(|| listener(shared.port));
        loop {
            tokio::select! {
                _down = up.wait_for(|up| !*up) => break,
                caller = listener.accept() => {
                    // A caller that has left already is an error, too.
                    if let Ok((stream, peer)) = caller {
                        tokio::spawn(connection::serve(Arc::clone(&shared), stream, peer));
                    }
                }
            }
        }
    }
}

/// Numbers that look random and are the same in every run with the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}
