//! Opening an agent's standard input and output.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::paths::TurnPaths;
use crate::spec::Stdin;
use promptd_sys as sys;

/// Opens the agent's standard input.
pub(crate) fn open_stdin(stdin: Stdin, paths: &TurnPaths) -> io::Result<OwnedFd> {
    let mut options = File::options();
    let opened = match stdin {
        Stdin::Null => options.read(true).open("/dev/null"),
        Stdin::Prompt => sys::open_own(&paths.prompt(), options.read(true)),
        // The keeper holds the other end (see `control`).
        Stdin::Open => sys::open_own_fifo(&paths.stdin_fifo(), options.read(true)),
    };
    let file = opened?;
    // What the agent reads waits for more input; only the opening must not.
    sys::make_blocking(&file)?;
    Ok(file.into())
}

/// Opens an output file for the agent or its pump.
pub(super) fn append_to(path: &Path) -> io::Result<OwnedFd> {
    let file = sys::open_own(path, File::options().append(true).create(true).mode(0o600))?;
    // Agents inherit the flags of their output.
    sys::make_blocking(&file)?;
    Ok(file.into())
}
