//! Reads that do not block, atomic replacement of files, and random bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::BytesMut;

/// Reads at `offset` into the spare capacity of `buffer`, without waiting for the disk.
///
/// Returns `WouldBlock` if the bytes are not in the page cache, so that an async task can read on a blocking thread
/// instead. File systems without `RWF_NOWAIT` read normally.
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
    // at most `iov_len` bytes into it, and nothing reads them before.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const target, 1, offset, flags) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has just initialised `read` bytes after the old length, within the capacity.
    unsafe { buffer.set_len(buffer.len().saturating_add(read)) };
    Ok(read)
}

/// Replaces a file atomically: a reader sees the complete old or the complete new content. Mode 0600.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
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

/// Random bytes from the kernel at the time of use, because cloned sandboxes must not share them.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}
