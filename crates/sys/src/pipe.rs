//! Pipes: reading without taking, and how much nobody has taken.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Copies what is in a pipe to another one, and leaves it where it is. Waits until there is something; answers how many bytes
/// were copied, 0 when nobody can write to the first one any more.
pub fn tee(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    // SAFETY: a plain system call on descriptors that live through it; no memory is passed.
    let copied = unsafe { libc::tee(from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd(), most, 0) };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}

/// How many bytes in a pipe nobody has read yet.
pub fn unread_bytes(pipe: &File) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to a local that lives through the call.
    if unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn copied_bytes_stay_in_the_pipe_until_they_are_read() {
        let ((from, mut writer), (mut copy, to)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let mut from = File::from(std::os::fd::OwnedFd::from(from));
        writer.write_all(b"hello").unwrap();
        assert_eq!(tee(&from, &to, 100).unwrap(), 5);
        assert_eq!(unread_bytes(&from).unwrap(), 5);
        let mut bytes = [0; 5];
        copy.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        from.read_exact(&mut bytes).unwrap();
        assert_eq!(unread_bytes(&from).unwrap(), 0);
        drop(writer);
        assert_eq!(tee(&from, &to, 100).unwrap(), 0, "it has ended");
    }
}
