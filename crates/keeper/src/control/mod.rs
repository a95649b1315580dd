//! The control socket: one JSON line as request, one JSON line as answer.
//!
//! Owns the connections of the server and the agent's open standard input. An `input` request is followed by its bytes.
//! Only the same user can connect, because the session's folder has mode 0700. Promises that it never blocks. May not
//! write to the journal: it answers [`ControlEvent`]s.

mod connection;
mod protocol;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::poll::PollFlags;

use connection::{Connection, State, Stdin};

pub(crate) use connection::ControlEvent;
pub use protocol::{Request, Response, STDIN_NOT_OPEN};

/// Maximum number of connections.
const MAX_CONNECTIONS: usize = 32;

/// The socket, its connections, and the agent's open standard input.
#[derive(Debug)]
pub(crate) struct Control {
    listener: Option<UnixListener>,
    connections: Vec<Connection>,
    stdin: Stdin,
}

impl Control {
    /// `fifo` is the agent's standard input, if it is open; `to` is how many bytes were written to it.
    pub(crate) fn new(fifo: Option<File>, to: u64) -> Self {
        Self {
            listener: None,
            connections: Vec::new(),
            stdin: Stdin { fifo, to },
        }
    }

    /// Starts listening.
    pub(crate) fn listen(&mut self, folder: &Path, name: &str) -> io::Result<()> {
        let listener = promptd_sys::bind_unix(folder, name)?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Opens both ends of the FIFO at `path`: this never blocks, and neither side sees an end of file.
    pub(crate) fn open_fifo(path: &Path) -> io::Result<File> {
        promptd_sys::open_own_fifo(path, File::options().read(true).write(true))
    }

    /// The descriptors to poll.
    pub(crate) fn poll_fds(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let accepting = self
            .listener
            .as_ref()
            .filter(|_| self.connections.len() < MAX_CONNECTIONS);
        let mut fds: Vec<_> = accepting
            .map(|listener| (listener.as_fd(), PollFlags::POLLIN))
            .into_iter()
            .collect();
        let mut input_waits = false;
        for connection in &self.connections {
            input_waits |= matches!(connection.state, State::Input { .. }) && !connection.received.is_empty();
            let full = matches!(connection.state, State::Input { .. })
                && connection.received.len() >= connection::INPUT_BUFFER;
            // poll always reports a closed connection, and would not wait. If the buffer is full, the FIFO wakes the keeper.
            if !connection.ended && !full {
                fds.push((connection.stream.as_fd(), PollFlags::POLLIN));
            }
        }
        if let Some(fifo) = self.stdin.fifo.as_ref().filter(|_| input_waits) {
            fds.push((fifo.as_fd(), PollFlags::POLLOUT));
        }
        fds
    }

    /// Handles all requests that can be handled now; answers what the keeper has to do.
    pub(crate) fn process(&mut self) -> Vec<ControlEvent> {
        while let Some(Ok((stream, _))) = self.listener.as_ref().map(UnixListener::accept) {
            if stream.set_nonblocking(true).is_ok() {
                self.connections.push(Connection::new(stream));
            }
            if self.connections.len() >= MAX_CONNECTIONS {
                break;
            }
        }
        let mut events = Vec::new();
        let has_input = |connection: &Connection| matches!(connection.state, State::Input { .. });
        let mut writing = self.connections.iter().any(has_input);
        for (index, connection) in self.connections.iter_mut().enumerate() {
            connection.receive();
            if matches!(connection.state, State::Reading) {
                events.extend(connection.parse_request(index, &self.stdin, writing));
                writing |= has_input(connection);
            }
            if has_input(connection) {
                events.extend(connection.write_input(index, &mut self.stdin));
            }
        }
        events
    }

    /// Answers a `status` request, or an input request whose bytes are in the journal.
    pub(crate) fn answer(&mut self, connection: usize, response: &Response) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.answer(response);
        }
    }

    /// Answers all `stop` requests.
    pub(crate) fn answer_stops(&mut self, response: &Response) {
        for connection in self
            .connections
            .iter_mut()
            .filter(|connection| matches!(connection.state, State::Stopping))
        {
            connection.answer(response);
        }
    }

    /// Removes closed connections. Only between rounds, because events name connections by index.
    pub(crate) fn remove_closed(&mut self) {
        self.connections
            .retain(|connection| !matches!(connection.state, State::Closed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    fn ask(control: &mut Control, at: Option<u64>, text: &str) -> (UnixStream, Vec<ControlEvent>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let length = promptd_model::len64(text.as_bytes());
        let close = false;
        let request = serde_json::to_string(&Request::Input { length, close, at }).unwrap();
        theirs.write_all(format!("{request}\n{text}").as_bytes()).unwrap();
        control.connections.push(Connection::new(ours));
        (theirs, control.process())
    }

    #[test]
    fn input_is_not_written_twice() {
        let folder = promptd_sys::TemporaryFolder::new("control").unwrap();
        let path = folder.join("stdin");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut control = Control::new(Some(Control::open_fifo(&path).unwrap()), 7);
        let (_first, commands) = ask(&mut control, Some(7), "hello\n");
        assert!(
            matches!(commands.as_slice(), [ControlEvent::Written { bytes, to: 13, answer: Some(0) }] if bytes == b"hello\n")
        );
        control.answer(0, &Response::default());
        control.remove_closed();
        // A server that does not know of the first input.
        let (mut second, commands) = ask(&mut control, Some(7), "hello\n");
        assert!(commands.is_empty());
        let mut answer = [0; 200];
        let read = second.read(&mut answer).unwrap();
        let answer: Response = serde_json::from_slice(&answer[..read]).unwrap();
        assert!(answer.error.unwrap().contains("13 bytes, not 7"));
        let (_third, commands) = ask(&mut control, None, "x");
        assert_eq!(commands.len(), 1);
    }
}
