//! One connection to the control socket.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::protocol::{Request, Response, STDIN_NOT_OPEN};
use promptd_model::{Cause, len64};

/// Maximum bytes of a request line.
const MAX_REQUEST: usize = 4 << 10;

/// How many bytes of input are buffered if the agent does not read.
pub(super) const INPUT_BUFFER: usize = 64 << 10;

/// What the keeper has to do for a request.
#[derive(Debug)]
pub(crate) enum ControlEvent {
    /// Answer a `status` request on this connection.
    Status(usize),
    /// End the process tree.
    Stop { grace: f64, cause: Option<Cause> },
    /// Bytes were written to the agent's standard input; `to` counts all bytes so far. If this completes a request,
    /// `answer` is its connection.
    Written {
        bytes: Vec<u8>,
        to: u64,
        answer: Option<usize>,
    },
}

/// The agent's standard input.
#[derive(Debug)]
pub(super) struct Stdin {
    /// Both ends of the FIFO, so it stays open when the agent or a server dies.
    pub(super) fifo: Option<File>,
    /// How many bytes were written.
    pub(super) to: u64,
}

#[derive(Debug)]
pub(super) enum State {
    /// Reads the request line.
    Reading,
    /// Reads input for the agent.
    Input {
        left: u64,
        close: bool,
    },
    /// Waits for the end of the process tree.
    Stopping,
    Closed,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: UnixStream,
    pub(super) state: State,
    /// Received bytes that are not handled yet.
    pub(super) received: Vec<u8>,
    /// The other side has closed its end.
    pub(super) ended: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            state: State::Reading,
            received: Vec::new(),
            ended: false,
        }
    }

    /// Reads what has arrived.
    pub(super) fn receive(&mut self) {
        let mut block = [0; 16 << 10];
        while self.received.len() < INPUT_BUFFER {
            match self.stream.read(&mut block) {
                Ok(0) => {
                    // Bytes that arrived before are still written to the agent.
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

    /// Parses the request line, if it is complete. `writing` means that another request is writing input.
    pub(super) fn parse_request(&mut self, index: usize, stdin: &Stdin, writing: bool) -> Option<ControlEvent> {
        let Some(newline) = memchr::memchr(b'\n', &self.received) else {
            if self.ended || self.received.len() > MAX_REQUEST {
                self.refuse("the request has no end");
            }
            return None;
        };
        let line: Vec<u8> = self.received.drain(..=newline).collect();
        match serde_json::from_slice(&line) {
            Ok(Request::Ping) => {
                self.answer(&Response::default());
                None
            }
            Ok(Request::Status) => Some(ControlEvent::Status(index)),
            Ok(Request::Stop { grace, cause }) => {
                self.state = State::Stopping;
                Some(ControlEvent::Stop { grace, cause })
            }
            Ok(Request::Input { .. }) if stdin.fifo.is_none() => {
                self.refuse(STDIN_NOT_OPEN);
                None
            }
            Ok(Request::Input { at: Some(at), .. }) if writing || at != stdin.to => {
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

    /// Writes received input to the agent, as far as the FIFO accepts it.
    pub(super) fn write_input(&mut self, index: usize, stdin: &mut Stdin) -> Option<ControlEvent> {
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
        left = left.saturating_sub(len64(&bytes));
        stdin.to = stdin.to.saturating_add(len64(&bytes));
        self.state = State::Input { left, close };
        if left == 0 && close {
            stdin.fifo = None;
        } else if left > 0 && self.ended && self.received.is_empty() {
            self.refuse("the input ended early");
        }
        let answer = (left == 0).then_some(index);
        (answer.is_some() || !bytes.is_empty()).then_some(ControlEvent::Written {
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

    /// Answers and closes.
    pub(super) fn answer(&mut self, response: &Response) {
        let mut line = serde_json::to_vec(response).unwrap_or_default();
        line.push(b'\n');
        // A line fits into a socket's buffer. If the other side is gone, nobody needs the answer.
        let _gone = self.stream.write_all(&line);
        self.state = State::Closed;
    }
}
