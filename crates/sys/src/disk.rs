//! The disk: how much is free, and giving back what was read.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// A file system's room, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What an unprivileged process may still use.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

/// Asks for the room on the file system that holds `path`.
pub fn space(path: &Path) -> io::Result<Space> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let unit = stat.fragment_size();
    Ok(Space {
        free: stat.blocks_available().saturating_mul(unit),
        total: stat.blocks().saturating_mul(unit),
    })
}

/// Gives the bytes of a file between two offsets back to the file system; the file keeps its size.
///
/// An error is no loss (not every file system can), so callers may ignore it.
pub fn punch_hole(file: &File, from: u64, to: u64) -> io::Result<()> {
    allocate(
        file,
        libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        from,
        to.saturating_sub(from),
    )
}

/// Takes room for bytes that are about to be written; the file keeps its size. A file system that cannot is no error.
pub fn reserve(file: &File, from: u64, length: u64) -> io::Result<()> {
    match allocate(file, libc::FALLOC_FL_KEEP_SIZE, from, length) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

fn allocate(file: &File, mode: libc::c_int, from: u64, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let from = libc::off_t::try_from(from).map_err(io::Error::other)?;
    let length = libc::off_t::try_from(length).map_err(io::Error::other)?;
    // SAFETY: a plain system call on a descriptor that lives through it; no memory is passed.
    if unsafe { libc::fallocate(file.as_raw_fd(), mode, from, length) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The bytes that the files of a folder take on the disk, without its sub-folders.
pub fn tree_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0_u64;
    for entry in std::fs::read_dir(folder)? {
        // A file may go while we look.
        if let Ok(metadata) = entry?.metadata() {
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
        }
    }
    Ok(bytes)
}
