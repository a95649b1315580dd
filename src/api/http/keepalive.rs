//! Finds connections whose peer is gone: after a resume of the sandbox, old connections look open and are dead.
//!
//! The kernel cuts off a peer that acknowledges nothing for a while, and probes it where we have nothing to send. A
//! WebSocket is pinged, too, because behind a proxy it is the proxy that acknowledges.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

/// A peer that acknowledges nothing for so long is gone; one that reads nothing for so long can reconnect at its cursor.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// The kernel probes a silent peer after so many seconds, and then again at this interval.
const PROBE_SECONDS: u32 = 15;

/// A client that leaves so many pings in a row unanswered is gone.
const MAX_UNANSWERED: u32 = 2;

/// Has the kernel probe a connection, and send small records at once.
pub(crate) fn set_keepalive(connection: &TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    setsockopt(connection, sockopt::KeepAlive, &true)?;
    setsockopt(connection, sockopt::TcpKeepIdle, &PROBE_SECONDS)?;
    setsockopt(connection, sockopt::TcpKeepInterval, &PROBE_SECONDS)?;
    let timeout = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(connection, sockopt::TcpUserTimeout, &timeout)?)
}

/// Whether the client of a `WebSocket` is still there.
///
/// Counts pings, not seconds: a pause of the machine is not the client's silence.
#[derive(Debug, Default)]
pub(crate) struct PingMonitor {
    unanswered: AtomicU32,
    /// Somebody reads what the client sends. While a command is executed, nobody does.
    reading: AtomicBool,
}

impl PingMonitor {
    /// What the client sends is read from now on, or is not for a while.
    pub(crate) fn set_reading(&self, reading: bool) {
        self.reading.store(reading, Ordering::Relaxed);
        self.record_activity();
    }

    /// The client has sent or taken something.
    pub(crate) fn record_activity(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// Counts a ping that is about to be sent; false when too many before it were not answered.
    pub(crate) fn count_ping(&self) -> bool {
        if !self.reading.load(Ordering::Relaxed) {
            return true;
        }
        self.unanswered.fetch_add(1, Ordering::Relaxed) < MAX_UNANSWERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_unanswered_pings_are_the_end() {
        let monitor = PingMonitor::default();
        assert!((0..10).all(|_| monitor.count_ping()), "nobody reads");
        monitor.set_reading(true);
        assert!(monitor.count_ping() && monitor.count_ping());
        monitor.record_activity();
        assert!(monitor.count_ping() && monitor.count_ping());
        assert!(!monitor.count_ping());
    }

    #[test]
    fn pings_do_not_count_while_a_command_is_executed() {
        let monitor = PingMonitor::default();
        monitor.set_reading(true);
        assert!(monitor.count_ping() && monitor.count_ping());
        monitor.set_reading(false);
        assert!((0..10).all(|_| monitor.count_ping()));
        monitor.set_reading(true);
        assert!(monitor.count_ping());
    }
}
