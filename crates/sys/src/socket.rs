//! Unix sockets in folders whose path may be longer than a socket address (108 bytes).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Listens on `folder/name`, and replaces the socket of an earlier process.
pub fn bind_unix(folder: &Path, name: &str) -> io::Result<UnixListener> {
    match std::fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let (opened, short) = short_path(folder, name)?;
    let listener = UnixListener::bind(short);
    drop(opened);
    listener
}

/// Connects to `folder/name`.
pub fn connect_unix(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let (opened, short) = short_path(folder, name)?;
    let stream = UnixStream::connect(short);
    drop(opened);
    stream
}

/// A short name for `folder/name` that is valid while the returned descriptor is open.
fn short_path(folder: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let opened = File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()));
    Ok((opened, short))
}
