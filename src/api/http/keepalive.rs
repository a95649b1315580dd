//! Peers that are gone without a word: after a resume, connections from before look open and lead nowhere.
//!
//! The kernel finds them: whoever acknowledges nothing for a while is cut off, and where we have nothing to send the
//! kernel asks. So does a `WebSocket`, end to end, since behind a proxy it is the proxy that acknowledges.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// Whoever acknowledges nothing for so long is gone; or reads nothing for so long, and can come back to its cursor.
const SILENCE: Duration = Duration::from_secs(30);

/// The kernel asks a silent peer after so many seconds, and again each time when they have passed.
const ASK_EACH_SECONDS: u32 = 15;

/// As many pings in a row without any answer mean that nobody is there.
const UNANSWERED: u32 = 2;

/// Has the kernel watch over a connection; records are small and wanted now.
pub(crate) fn watch_over(connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    setsockopt(connection, sockopt::KeepAlive, &true)?;
    setsockopt(connection, sockopt::TcpKeepIdle, &ASK_EACH_SECONDS)?;
    setsockopt(connection, sockopt::TcpKeepInterval, &ASK_EACH_SECONDS)?;
    let silence = u32::try_from(SILENCE.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(connection, sockopt::TcpUserTimeout, &silence)?)
}

/// Whether a `WebSocket`'s client is still there.
///
/// Counted in pings, not in seconds: a pause of the machine is nobody's silence.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    unanswered: AtomicU32,
    /// Somebody reads what the client sends; while a command is being obeyed, nobody does.
    listens: AtomicBool,
}

impl Pulse {
    /// From now on what the client sends is read, or is not for a while.
    pub(crate) fn listen(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
        self.heard();
    }

    /// The client has sent something.
    pub(crate) fn heard(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// Before a ping: false when the ones before were not answered, and nobody is there.
    pub(crate) fn beats(&self) -> bool {
        if !self.listens.load(Ordering::Relaxed) {
            return true;
        }
        self.unanswered.fetch_add(1, Ordering::Relaxed) < UNANSWERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pings_without_an_answer_are_the_end() {
        let pulse = Pulse::default();
        assert!((0..10).all(|_| pulse.beats()), "nobody listens");
        pulse.listen(true);
        assert!(pulse.beats() && pulse.beats());
        pulse.heard();
        assert!(pulse.beats() && pulse.beats());
        assert!(!pulse.beats());
    }

    #[test]
    fn a_long_command_is_no_silence_of_the_client() {
        let pulse = Pulse::default();
        pulse.listen(true);
        assert!(pulse.beats() && pulse.beats());
        pulse.listen(false);
        assert!((0..10).all(|_| pulse.beats()));
        pulse.listen(true);
        assert!(pulse.beats());
    }
}
