//! The pump: a process that copies an agent's standard output from a pipe to the turn's file.
//!
//! Some agents refuse a file as their standard output. Theirs is a FIFO, and the pump reads it. It belongs to the agent's
//! tree: it lives as long as somebody can write to the FIFO, and notices neither the keeper's death nor the server's. It waits
//! for nobody but the disk, as the agent itself would. Signals that ask a tree to end do not end it, so last words arrive.
//!
//! Bytes are in the file before they are taken from the FIFO. So when the FIFO is empty, everything is in the file.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use super::stdio::append_to;
use crate::paths::TurnPaths;
use promptd_sys::{self as sys, ProcessIdentity};

/// How much is copied at once: what a pipe holds.
const BLOCK: usize = 64 << 10;

/// How long the pump waits before it writes again what the disk refused.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The signals that ask a process to end.
const POLITE: [Signal; 5] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGPIPE,
];

/// Starts the pump of a turn as a child of this process; answers the end of the FIFO that the agent gets.
pub(crate) fn start(paths: &TurnPaths) -> io::Result<OwnedFd> {
    let fifo = paths.stdout_fifo();
    match nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let reader = sys::open_own_fifo(&fifo, File::options().read(true))?;
    let writer = sys::open_own_fifo(&fifo, File::options().write(true))?;
    for end in [&reader, &writer] {
        sys::make_blocking(end)?;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("pump").arg(paths.folder()).arg(paths.turn().to_string());
    // It needs nothing but to be found.
    let (name, value) = paths.marker();
    command.env_clear().env(name, value);
    let null = File::options().write(true).open("/dev/null")?;
    let stdio = [reader.into(), append_to(&paths.stdout())?, null.into()];
    let _child = sys::spawn(command, sys::ChildSetup { stdio })?;
    Ok(writer.into())
}

/// The pumps of a turn that are alive.
pub(crate) fn find(paths: &TurnPaths) -> Vec<ProcessIdentity> {
    if !paths.stdout_fifo().exists() {
        return Vec::new();
    }
    let turn = paths.turn().to_string();
    let folder = paths.folder().as_os_str().as_encoded_bytes();
    sys::find_by_arguments(&[b"pump", folder, turn.as_bytes()])
}

/// How many bytes of a FIFO may not be in the turn's file yet. None where there is no FIFO.
pub(crate) fn unread(fifo: &Path) -> u64 {
    let pipe = sys::open_own_fifo(fifo, File::options().read(true));
    pipe.and_then(|pipe| sys::unread_bytes(&pipe)).unwrap_or(0)
}

/// Runs as a pump: copies standard input to standard output until nobody can write to it any more.
pub fn main() -> ExitCode {
    sys::name_this_process(c"promptd-pump");
    sys::ignore_signals(&POLITE);
    match copy_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn copy_all() -> io::Result<()> {
    let from = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let to = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut copies = io::pipe()?;
    let mut block = vec![0; BLOCK];
    while copy_some(&from, &to, &mut copies, &mut block)? {}
    Ok(())
}

/// Copies what is there; false at the end.
fn copy_some(
    mut from: &File,
    to: &File,
    (copy, copy_to): &mut (PipeReader, PipeWriter),
    block: &mut [u8],
) -> io::Result<bool> {
    match sys::tee(from, &*copy_to, block.len()) {
        Ok(0) => return Ok(false),
        Ok(count) => {
            let bytes = block.get_mut(..count).unwrap_or_default();
            copy.read_exact(bytes)?;
            write_all(to, bytes);
            from.read_exact(bytes)?;
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        // A kernel that cannot do this: then bytes are with the pump for a moment.
        Err(_) => match from.read(block)? {
            0 => return Ok(false),
            count => write_all(to, block.get(..count).unwrap_or_default()),
        },
    }
    Ok(true)
}

/// Writes everything, however long the disk is full. The agent waits meanwhile, and loses nothing.
fn write_all(mut to: impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => thread::sleep(RETRY_DELAY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, and fails in between.
    struct Disk {
        bytes: Vec<u8>,
        calls: u32,
    }

    impl Write for &mut Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            match self.calls {
                2 => Err(io::ErrorKind::StorageFull.into()),
                3 => Err(io::ErrorKind::Interrupted.into()),
                _ => {
                    let count = bytes.len().min(3);
                    self.bytes.extend_from_slice(&bytes[..count]);
                    Ok(count)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn full_disk_loses_nothing() {
        let mut disk = Disk {
            bytes: Vec::new(),
            calls: 0,
        };
        write_all(&mut disk, b"hello world");
        assert_eq!(disk.bytes, b"hello world");
    }
}
