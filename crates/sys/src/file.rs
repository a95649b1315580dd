//! Files of ours: opened without trusting what lies at their place, read without blocking, replaced atomically.
//!
//! Agents run as the same user. They can put a FIFO, a device, a link or somebody else's file where a file of ours was.
//! Opening a FIFO would block for ever, so every file of ours is opened by the functions here.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::user::is_own_user;

/// Opens a file of ours. Fails, and never blocks, where the path is anything but a regular file of this user or of root.
pub fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    check_own(opened.map_err(explain)?)
}

/// Reads a file of ours. Fails, and never blocks, where the path is anything but a regular file of this user or of root,
/// or where it has more than `limit` bytes.
pub fn read_own(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read(open_own(path, OpenOptions::new().read(true))?, limit)
}

/// The same for a file that may be a symbolic link to its content, such as a mounted secret. A link to nothing is an
/// error of another kind than `NotFound`: a file was meant to be there.
pub fn read_own_or_linked(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    match opened {
        Ok(file) => read(check_own(file)?, limit),
        Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
            Err(wrong("it is a symbolic link to a file that is not there"))
        }
        Err(error) => Err(explain(error)),
    }
}

/// Opens a file that may be somebody else's, such as one of a repository. Fails, and never blocks, where it is not a
/// regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(explain)?;
    check_regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads such a file, up to `limit` bytes.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read(open_regular(path)?, limit)
}

/// Opens a FIFO of ours without blocking: for reading, for reading and writing, or for writing if somebody reads.
pub fn open_own_fifo(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    let file = opened.map_err(explain)?;
    let metadata = file.metadata()?;
    if metadata.file_type().is_fifo() {
        check_owner(&metadata).map(|()| file)
    } else {
        Err(wrong("it is not a FIFO"))
    }
}

/// Makes reads and writes wait, for a descriptor that another program gets.
pub fn make_blocking(file: &File) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK)))?;
    Ok(())
}

fn check_own(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    check_owner(&metadata).map(|()| file)
}

fn check_owner(metadata: &Metadata) -> io::Result<()> {
    if is_own_user(metadata.uid()) {
        Ok(())
    } else {
        Err(wrong(&format!("it belongs to another user, {}", metadata.uid())))
    }
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(wrong("it is not a regular file"))
    }
}

fn read(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length <= limit) {
        Ok(content)
    } else {
        Err(wrong(&format!("it has more than {limit} bytes")))
    }
}

/// Says what the error codes of the flags mean.
fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => wrong("it is a symbolic link"),
        // A FIFO without a reader, a socket, or a device without a driver.
        Some(libc::ENXIO | libc::EISDIR) => wrong("it is not a regular file"),
        _ => error,
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

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
    stage_file(path, content)?.commit()
}

/// Writes what is to replace a file, which stays as it is until [`StagedFile::commit`]. Mode 0600.
pub fn stage_file(path: &Path, content: &[u8]) -> io::Result<StagedFile> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // What an earlier process has left, or an agent has put there.
    remove_any(&temporary)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let staged = StagedFile {
        temporary,
        path: path.to_owned(),
    };
    file.write_all(content)?;
    Ok(staged)
}

/// The next content of a file, on the disk beside it. If it is dropped, it is removed.
#[derive(Debug)]
pub struct StagedFile {
    temporary: PathBuf,
    path: PathBuf,
}

impl StagedFile {
    /// Replaces the file. This needs no space on the disk.
    pub fn commit(self) -> io::Result<()> {
        std::fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // After a commit there is nothing.
        let _removed = std::fs::remove_file(&self.temporary);
    }
}

/// Removes what is at this path, a file or a folder; it is no error if there is nothing.
fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match std::fs::remove_file(path) {
        Err(_) if path.is_dir() => std::fs::remove_dir_all(path),
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Random bytes from the kernel at the time of use, because cloned sandboxes must not share them.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    use crate::TemporaryFolder;
    use nix::sys::stat::Mode;

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let folder = TemporaryFolder::new("open").unwrap();
        std::fs::write(folder.join("file"), "content").unwrap();
        assert_eq!(read_own(&folder.join("file"), 7).unwrap(), b"content");
        nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::create_dir(folder.join("folder")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        symlink("file", folder.join("link")).unwrap();
        symlink("nothing", folder.join("dangling")).unwrap();
        symlink("/dev/zero", folder.join("device")).unwrap();
        for name in ["fifo", "folder", "socket", "link", "dangling", "device"] {
            let path = folder.join(name);
            assert_eq!(
                read_own(&path, 100).unwrap_err().kind(),
                ErrorKind::InvalidData,
                "{name}"
            );
            let written = open_own(&path, OpenOptions::new().append(true).create(true));
            assert_eq!(written.unwrap_err().kind(), ErrorKind::InvalidData, "{name}");
            let linked = read_own_or_linked(&path, 100).ok();
            assert_eq!(linked.is_some(), name == "link", "{name}");
        }
        assert_eq!(
            read_own(&folder.join("missing"), 1).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(read_own(&folder.join("file"), 6).is_err(), "it is too large");
    }

    #[test]
    fn staged_content_counts_when_it_is_committed() {
        let folder = TemporaryFolder::new("stage").unwrap();
        let path = folder.join("file");
        replace_file(&path, b"old").unwrap();
        drop(stage_file(&path, b"never").unwrap());
        let staged = stage_file(&path, b"new").unwrap();
        assert_eq!(read_own(&path, 9).unwrap(), b"old");
        staged.commit().unwrap();
        assert_eq!(read_own(&path, 9).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&*folder).unwrap().count(), 1, "nothing is left");
    }

    #[test]
    fn file_is_replaced_whatever_lies_in_the_way() {
        let folder = TemporaryFolder::new("replace").unwrap();
        let (path, temporary) = (folder.join("file"), folder.join("file.new"));
        nix::unistd::mkfifo(&temporary, Mode::S_IRWXU).unwrap();
        replace_file(&path, b"one").unwrap();
        std::fs::create_dir_all(temporary.join("deep")).unwrap();
        replace_file(&path, b"two").unwrap();
        symlink(folder.join("elsewhere"), &temporary).unwrap();
        replace_file(&path, b"three").unwrap();
        assert_eq!(read_own(&path, 9).unwrap(), b"three");
        assert!(!folder.join("elsewhere").exists());
    }
}
