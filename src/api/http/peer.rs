//! Who is on the other side of a Unix socket.

use std::os::fd::AsFd;

use promptd_sys as sys;

/// The process that has connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// It runs as this server's user, or as root.
    pub(crate) is_own: bool,
}

impl Peer {
    /// What the kernel says of a Unix socket's other side.
    pub(crate) fn of(stream: &impl AsFd) -> Self {
        let is_own = sys::is_own_peer(stream).unwrap_or(false);
        Self { is_own }
    }
}
