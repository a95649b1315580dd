//! Unix sockets for this user alone, also in folders whose path is longer than a socket's address (108 bytes).

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt};

use super::file::random_bytes;
use super::user::is_own_user;

/// Only its owner may connect.
const MODE: u32 = 0o600;

/// The socket's name before it is moved to its place.
const NEW: &str = "new";

/// Listens on `folder/name`, for this user alone, and replaces the socket of an earlier process.
///
/// The socket is made in a folder that only this user may enter, and then moved to its place. So no other user can
/// connect at any moment, whatever the umask is.
pub fn bind_unix(folder: &Path, name: &str) -> io::Result<UnixListener> {
    let random = u64::from_le_bytes(random_bytes()?);
    let private = folder.join(format!(".{name}.{random:016x}"));
    DirBuilder::new().mode(0o700).create(&private)?;
    let listener = bind_in(&private).and_then(|listener| {
        std::fs::rename(private.join(NEW), folder.join(name))?;
        Ok(listener)
    });
    let _removed = std::fs::remove_dir_all(&private);
    listener
}

fn bind_in(private: &Path) -> io::Result<UnixListener> {
    let (opened, short) = short_path(private, NEW)?;
    let listener = UnixListener::bind(short)?;
    drop(opened);
    std::fs::set_permissions(private.join(NEW), Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// Connects to `folder/name`. The stream does not block.
///
/// Never waits: where the listener accepts nothing and its queue is full, the error is `WouldBlock`.
pub fn connect_unix(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let (opened, short) = short_path(folder, name)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let connected = connect(stream.as_raw_fd(), &UnixAddr::new(&short)?);
    drop(opened);
    match connected {
        // Linux reports a full queue by this, and never by EINPROGRESS.
        Ok(()) => Ok(stream.into()),
        Err(Errno::EINTR) => Err(io::ErrorKind::WouldBlock.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a process listens on `folder/name`, even if it is too busy to accept.
pub fn is_listening(folder: &Path, name: &str) -> bool {
    match connect_unix(folder, name) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Whether the process on the other side of a Unix socket was this user's when it connected, or root's, who may do
/// everything anyway.
pub fn is_own_peer(stream: &impl AsFd) -> io::Result<bool> {
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(is_own_user(peer.uid()))
}

/// The process that listened or connected on the other side of a Unix socket; `None` where this process cannot see it,
/// as in another container.
pub fn peer_pid(stream: &impl AsFd) -> Option<i32> {
    let peer = getsockopt(stream, sockopt::PeerCredentials).ok()?;
    Some(peer.pid()).filter(|pid| *pid > 0)
}

/// A short name for `folder/name` that is valid while the returned descriptor is open.
fn short_path(folder: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let opened = File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()));
    Ok((opened, short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TemporaryFolder;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn socket_is_private_and_leaves_nothing_beside_it() {
        let folder = TemporaryFolder::new("socket").unwrap();
        for _ in 0..2 {
            let listener = bind_unix(&folder, "a.sock").unwrap();
            assert!(is_listening(&folder, "a.sock"));
            assert!(is_own_peer(&listener.accept().unwrap().0).unwrap());
            assert_eq!(mode(&folder.join("a.sock")), MODE);
            assert_eq!(std::fs::read_dir(&*folder).unwrap().count(), 1);
        }
        assert!(!is_listening(&folder, "a.sock"), "its process has ended");
    }

    #[test]
    fn full_queue_does_not_block_the_caller() {
        let folder = TemporaryFolder::new("queue").unwrap();
        let listener = bind_unix(&folder, "a.sock").unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        let refused = loop {
            match connect_unix(&folder, "a.sock") {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(is_listening(&folder, "a.sock"));
    }
}
