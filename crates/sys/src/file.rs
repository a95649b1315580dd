//! Files: reads that do not block, replacement that cannot be torn, randomness.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::BytesMut;

/// Reads at `offset` into the spare capacity of `buffer`, without waiting for a disk.
///
/// Answers `WouldBlock` where the bytes are not in the page cache, so that an async task can hand the read
/// to a thread instead of stalling its neighbours. File systems without `RWF_NOWAIT` read as usual.
pub fn pread_cached(file: &File, buffer: &mut BytesMut, offset: u64) -> io::Result<usize> {
    match pread_into(file, buffer, offset, libc::RWF_NOWAIT) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => pread_into(file, buffer, offset, 0),
        result => result,
    }
}

fn pread_into(file: &File, buffer: &mut BytesMut, offset: u64, flags: libc::c_int) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    let spare = buffer.spare_capacity_mut();
    let target = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: spare.len(),
    };
    // SAFETY: `target` describes memory that `buffer` owns and that lives through the call; the kernel writes
    // at most `iov_len` bytes into it and nobody reads them before.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const target, 1, offset, flags) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has just initialised `read` bytes after the old length, within the capacity.
    unsafe { buffer.set_len(buffer.len().saturating_add(read)) };
    Ok(read)
}

/// Replaces a file so that a reader sees the old or the new content, whole. Mode 0600.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    std::fs::rename(&temporary, path)
}

/// Random bytes from the kernel, taken now: a cloned sandbox must not share them with its siblings.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
