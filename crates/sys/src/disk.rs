//! Disk space: free space, hole punching, reservation.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// The space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Free space for an unprivileged process.
    pub free: u64,
    /// Total space.
    pub total: u64,
}

/// The space of the file system that contains `path`.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let unit = stat.fragment_size();
    Ok(DiskSpace {
        free: stat.blocks_available().saturating_mul(unit),
        total: stat.blocks().saturating_mul(unit),
    })
}

/// Frees the disk space of a file between two offsets; the file keeps its size.
///
/// Some file systems do not support this, so callers may ignore an error.
pub fn punch_hole(file: &File, from: u64, to: u64) -> io::Result<()> {
    allocate(
        file,
        libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
        from,
        to.saturating_sub(from),
    )
}

/// Reserves disk space for bytes that will be written; the file keeps its size. False where the file system does not
/// support that.
pub fn reserve_space(file: &File, from: u64, length: u64) -> io::Result<bool> {
    match allocate(file, libc::FALLOC_FL_KEEP_SIZE, from, length) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
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

/// The disk space of the files in a folder, without its sub-folders.
pub fn folder_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0_u64;
    for entry in std::fs::read_dir(folder)? {
        // A file may be deleted meanwhile.
        if let Ok(metadata) = entry?.metadata() {
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
        }
    }
    Ok(bytes)
}
