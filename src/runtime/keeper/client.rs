//! Starting a keeper, and asking it.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use promptd_keeper::{Request, Response, Spec, TurnPaths};
use promptd_sys::{self as sys, WaitedChild};

/// Starts a keeper: this same program, whatever has become of its file on the disk meanwhile.
///
/// `posix_spawn`, not fork: the server's memory is not copied, and nothing runs between the two. The keeper itself
/// goes to its working directory: with a static C library, `Command::current_dir` would make this a fork.
pub(crate) fn spawn(spec: &Spec) -> io::Result<WaitedChild> {
    let mut task = File::from(memfd_create(c"promptd-spec", MFdFlags::MFD_CLOEXEC)?);
    task.write_all(&serde_json::to_vec(spec)?)?;
    task.rewind()?;
    let mut command = Command::new("/proc/self/exe");
    // The folder and turn are shown by `ps`; the task itself, with its secrets, comes by standard input.
    command.arg("keeper").arg(&spec.folder).arg(spec.turn.to_string());
    WaitedChild::spawn(command.stdin(task).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Asks a keeper; `NotFound` or `ConnectionRefused` when there is none.
pub(crate) async fn ask(paths: &TurnPaths, request: &Request, input: &[u8], timeout: Duration) -> io::Result<Response> {
    let mut message = serde_json::to_vec(request)?;
    message.push(b'\n');
    let exchange = async {
        let stream = sys::connect_unix(paths.folder(), &paths.socket_name())?;
        let mut stream = BufReader::new(UnixStream::from_std(stream)?);
        // A keeper that refuses hangs up at once; its answer is there all the same, and tells more than the pipe.
        let written = match stream.write_all(&message).await {
            Ok(()) => stream.write_all(input).await,
            failed => failed,
        };
        let mut line = String::new();
        let read = stream.read_line(&mut line).await;
        if line.is_empty() {
            written?;
            read?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether any file says that a turn has, or had, a keeper.
pub(crate) fn turns_with_files(folder: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let turn = |name: &str| name.strip_prefix("turn-")?.strip_suffix(".stdout")?.parse().ok();
    entries
        .flatten()
        .filter_map(|entry| turn(entry.file_name().to_str()?))
        .collect()
}
