//! The keeper's control socket: one JSON line in, one JSON line back.
//!
//! `input` is followed by as many raw bytes as it says. Only this user can connect: the session's folder is 0700.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

use promptd_model::Cause;

/// The longest request line.
const MAX_REQUEST: usize = 4 << 10;

/// More connections than this at once are not accepted yet.
const MAX_CONNECTIONS: usize = 32;

/// So much input is read ahead of an agent that does not read it.
const INPUT_AHEAD: usize = 64 << 10;

/// The refusal of input for an agent that has no open standard input, or none any more.
pub const STDIN_NOT_OPEN: &str = "stdin is not open";

/// What the server asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Who are you, and how is it going?
    Status,
    /// End the tree; answered when it is gone.
    Stop {
        /// Seconds until SIGKILL.
        grace: f64,
        /// Why; nothing where the agent has said its final result and only has not left.
        cause: Option<Cause>,
    },
    /// Write to the agent's standard input; answered when the agent's FIFO has taken it and the journal tells so.
    Input {
        /// How many bytes follow.
        length: u64,
        /// Close standard input behind them.
        close: bool,
        /// Only if exactly so many bytes went there before, and nobody else is writing: whoever finds out from the
        /// journal what is still to be said, as a server does that follows a killed one, cannot say it twice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
    },
}

/// What the keeper answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The keeper's pid.
    pub keeper: i32,
    /// Processes of the tree that live.
    pub processes: u32,
    /// After `stop`: how many could not be ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivors: Option<u32>,
    /// What was wrong with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug)]
enum State {
    Reading,
    Input {
        left: u64,
        close: bool,
    },
    /// Waits for the tree's end.
    Stopping,
    Closed,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    state: State,
    received: Vec<u8>,
    /// The other side has said all it has to say.
    ended: bool,
}

/// Something to do that came over the socket.
#[derive(Debug)]
pub(super) enum Command {
    Status(usize),
    Stop {
        grace: f64,
        cause: Option<Cause>,
    },
    /// Bytes that the agent's standard input has taken, for the journal; `to` counts all so far. Then there may be
    /// somebody who waits for it.
    Written {
        bytes: Vec<u8>,
        to: u64,
        answer: Option<usize>,
    },
}

/// The socket, its connections and the agent's open standard input.
#[derive(Debug)]
pub(super) struct Control {
    listener: Option<UnixListener>,
    connections: Vec<Connection>,
    stdin: Stdin,
}

/// The agent's standard input.
#[derive(Debug)]
struct Stdin {
    /// Both ends of the FIFO, so that neither the agent's nor a server's death closes it.
    fifo: Option<File>,
    /// How many bytes it has taken.
    to: u64,
}

impl Control {
    /// With the agent's standard input, if it is open, and how many bytes it has taken so far.
    pub(super) fn new(fifo: Option<File>, to: u64) -> Self {
        Self {
            listener: None,
            connections: Vec::new(),
            stdin: Stdin { fifo, to },
        }
    }

    /// Begins to listen.
    pub(super) fn listen(&mut self, folder: &Path, name: &str) -> io::Result<()> {
        let listener = promptd_sys::bind_in(folder, name)?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Opens the FIFO at `path`, made before; neither waits nor sees an end of file.
    pub(super) fn open_fifo(path: &Path) -> io::Result<File> {
        File::options()
            .read(true)
            .write(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(path)
    }

    /// What to wait for.
    pub(super) fn interests(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let accepting = self
            .listener
            .as_ref()
            .filter(|_| self.connections.len() < MAX_CONNECTIONS);
        let mut fds: Vec<_> = accepting
            .map(|listener| (listener.as_fd(), PollFlags::POLLIN))
            .into_iter()
            .collect();
        let mut blocked = false;
        for connection in &self.connections {
            blocked |= matches!(connection.state, State::Input { .. }) && !connection.received.is_empty();
            let full = matches!(connection.state, State::Input { .. }) && connection.received.len() >= INPUT_AHEAD;
            // poll would report an end again and again, whatever it is asked for; the FIFO wakes us where we are full.
            if !connection.ended && !full {
                fds.push((connection.stream.as_fd(), PollFlags::POLLIN));
            }
        }
        if let Some(fifo) = self.stdin.fifo.as_ref().filter(|_| blocked) {
            fds.push((fifo.as_fd(), PollFlags::POLLOUT));
        }
        fds
    }

    /// Does what can be done without waiting; answers what the keeper has to do.
    pub(super) fn work(&mut self) -> Vec<Command> {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            if stream.set_nonblocking(true).is_ok() {
                self.connections.push(Connection {
                    stream,
                    state: State::Reading,
                    received: Vec::new(),
                    ended: false,
                });
            }
            if self.connections.len() >= MAX_CONNECTIONS {
                break;
            }
        }
        let mut commands = Vec::new();
        let feeds = |connection: &Connection| matches!(connection.state, State::Input { .. });
        let mut busy = self.connections.iter().any(feeds);
        for (index, connection) in self.connections.iter_mut().enumerate() {
            connection.receive();
            if matches!(connection.state, State::Reading) {
                commands.extend(connection.request(index, &self.stdin, busy));
                busy |= feeds(connection);
            }
            if feeds(connection) {
                commands.extend(connection.feed(index, &mut self.stdin));
            }
        }
        commands
    }

    /// Answers `status`, or an input that is in the journal.
    pub(super) fn answer(&mut self, connection: usize, response: &Response) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.answer(response);
        }
    }

    /// Answers all who wait for the tree's end.
    pub(super) fn stopped(&mut self, response: &Response) {
        for connection in self
            .connections
            .iter_mut()
            .filter(|connection| matches!(connection.state, State::Stopping))
        {
            connection.answer(response);
        }
    }

    /// Forgets connections that are done; only between rounds, since commands name them by place.
    pub(super) fn sweep(&mut self) {
        self.connections
            .retain(|connection| !matches!(connection.state, State::Closed));
    }
}

impl Connection {
    fn receive(&mut self) {
        let mut block = [0; 16 << 10];
        while self.received.len() < INPUT_AHEAD {
            match self.stream.read(&mut block) {
                Ok(0) => {
                    // Bytes that came before are still fed to the agent.
                    self.ended = true;
                    if self.received.is_empty() {
                        self.state = State::Closed;
                    }
                    return;
                }
                Ok(read) => self.received.extend_from_slice(block.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.state = State::Closed,
            }
        }
    }

    fn request(&mut self, index: usize, stdin: &Stdin, busy: bool) -> Option<Command> {
        let Some(newline) = memchr::memchr(b'\n', &self.received) else {
            if self.ended || self.received.len() > MAX_REQUEST {
                self.refuse("the request has no end");
            }
            return None;
        };
        let line: Vec<u8> = self.received.drain(..=newline).collect();
        match serde_json::from_slice(&line) {
            Ok(Request::Status) => Some(Command::Status(index)),
            Ok(Request::Stop { grace, cause }) => {
                self.state = State::Stopping;
                Some(Command::Stop { grace, cause })
            }
            Ok(Request::Input { .. }) if stdin.fifo.is_none() => {
                self.refuse(STDIN_NOT_OPEN);
                None
            }
            Ok(Request::Input { at: Some(at), .. }) if busy || at != stdin.to => {
                self.refuse(&format!(
                    "stdin has taken {} bytes, not {at}, or is being written",
                    stdin.to
                ));
                None
            }
            Ok(Request::Input { length, close, .. }) => {
                self.state = State::Input { left: length, close };
                None
            }
            Err(error) => {
                self.refuse(&error.to_string());
                None
            }
        }
    }

    /// Gives the agent what has been received, as far as it takes it.
    fn feed(&mut self, index: usize, stdin: &mut Stdin) -> Option<Command> {
        let State::Input { mut left, close } = self.state else {
            return None;
        };
        let ready = usize::try_from(left).unwrap_or(usize::MAX).min(self.received.len());
        let written = match stdin
            .fifo
            .as_mut()
            .map(|fifo| fifo.write(self.received.get(..ready).unwrap_or_default()))
        {
            Some(Ok(written)) => written,
            Some(Err(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Some(Err(error)) => {
                self.refuse(&error.to_string());
                return None;
            }
            None => {
                self.refuse(STDIN_NOT_OPEN);
                return None;
            }
        };
        let bytes: Vec<u8> = self.received.drain(..written).collect();
        left = left.saturating_sub(promptd_model::len64(&bytes));
        stdin.to = stdin.to.saturating_add(promptd_model::len64(&bytes));
        self.state = State::Input { left, close };
        if left == 0 && close {
            stdin.fifo = None;
        } else if left > 0 && self.ended && self.received.is_empty() {
            self.refuse("the input ended early");
        }
        let answer = (left == 0).then_some(index);
        (answer.is_some() || !bytes.is_empty()).then_some(Command::Written {
            bytes,
            to: stdin.to,
            answer,
        })
    }

    fn refuse(&mut self, error: &str) {
        self.answer(&Response {
            error: Some(error.to_owned()),
            ..Response::default()
        });
    }

    fn answer(&mut self, response: &Response) {
        let mut line = serde_json::to_vec(response).unwrap_or_default();
        line.push(b'\n');
        // A line fits into any socket's buffer; who is not there any more needs no answer.
        let _gone = self.stream.write_all(&line);
        self.state = State::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(control: &mut Control, at: Option<u64>, text: &str) -> (UnixStream, Vec<Command>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let length = promptd_model::len64(text.as_bytes());
        let close = false;
        let request = serde_json::to_string(&Request::Input { length, close, at }).unwrap();
        theirs.write_all(format!("{request}\n{text}").as_bytes()).unwrap();
        control.connections.push(Connection {
            stream: ours,
            state: State::Reading,
            received: Vec::new(),
            ended: false,
        });
        (theirs, control.work())
    }

    #[test]
    fn what_has_been_said_meanwhile_is_not_said_again() {
        let path = std::env::temp_dir().join(format!("promptd-control-{}", std::process::id()));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut control = Control::new(Some(Control::open_fifo(&path).unwrap()), 7);
        let (_first, commands) = ask(&mut control, Some(7), "hello\n");
        assert!(
            matches!(commands.as_slice(), [Command::Written { bytes, to: 13, answer: Some(0) }] if bytes == b"hello\n")
        );
        control.answer(0, &Response::default());
        control.sweep();
        // A server that does not know of it yet.
        let (mut second, commands) = ask(&mut control, Some(7), "hello\n");
        assert!(commands.is_empty());
        let mut answer = [0; 200];
        let read = second.read(&mut answer).unwrap();
        let answer: Response = serde_json::from_slice(&answer[..read]).unwrap();
        assert!(answer.error.unwrap().contains("13 bytes, not 7"));
        let (_third, commands) = ask(&mut control, None, "x");
        assert_eq!(commands.len(), 1);
        std::fs::remove_file(path).unwrap();
    }
}
