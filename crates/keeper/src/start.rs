//! A keeper's beginning: take the turn's lock, then start the agent or find the one that another keeper started.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Instant;

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::agent::Agent;
use super::clock::{Age, RunningClock};
use super::control::Control;
use super::disk::DiskGuard;
use super::marks::Marks;
use super::origin::Origin;
use super::paths::TurnPaths;
use super::questions::Questions;
use super::spec::{Spec, Stdin};
use super::stream::{HOLE, READ, StreamFile};
use super::watch::Wakers;
use super::work::{ExitState, Keeper};
use promptd_journal::{Reader, WriteError, Writer, fold};
use promptd_model::{Body, Cause, Exited, SessionState, Started, Stream, StreamOffset, TurnState};
use promptd_model::{parse_head, whole_lines};
use promptd_sys as sys;

/// Why a keeper could not begin; its exit code tells the server.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeeperError {
    #[error("another keeper keeps this turn")]
    AlreadyKept,
    #[error("cannot read the task from standard input; a keeper is started by the server, not by hand")]
    Spec(#[source] io::Error),
    #[error("cannot prepare")]
    System(#[source] io::Error),
    #[error(transparent)]
    Journal(#[from] WriteError),
}

/// Prepares, and starts or finds the agent; `None` when there is nothing to keep.
pub(super) fn begin() -> Result<Option<Keeper>, KeeperError> {
    sys::prepare_keeper().map_err(KeeperError::System)?;
    // Ours is the server's, whose file system somebody may want to unmount.
    std::env::set_current_dir("/").map_err(KeeperError::System)?;
    let mut wakers = Wakers::new().map_err(|errno| KeeperError::System(errno.into()))?;
    let spec = read_spec()?;
    let paths = TurnPaths::new(&spec.folder, spec.turn);
    let (lock, fresh) = lock_output(&paths)?;
    let mut writer = Writer::open(&spec.folder)?;
    let turn = known_turn(&spec, &mut writer, fresh)?;
    if fresh && turn.as_ref().is_some_and(|turn| turn.exited.is_some()) {
        // A keeper removes the files when nothing is left to do: it went while the server was looking for it, and
        // new, empty files are no truncated ones.
        remove_files(&paths);
        return Ok(None);
    }
    let (agent, started, held) = match start_or_find(&spec, &paths, turn.as_ref(), fresh) {
        Ok(found) => found,
        Err(exited) => {
            append(&mut writer, spec.turn, &[Body::Exited(exited)])?;
            remove_files(&paths);
            return Ok(None);
        }
    };
    let [stdout_begin, stderr_begin] = spec.offsets;
    let open = |stream, path: &std::path::Path, begin| {
        let offset = turn.as_ref().map_or(
            StreamOffset {
                to: begin,
                base: begin,
                truncated: false,
            },
            |turn| turn.offset(stream),
        );
        StreamFile::open(stream, path, offset).map_err(KeeperError::System)
    };
    let (stdout, stderr) = (paths.stdout(), paths.stderr());
    let streams = [
        open(Stream::Stdout, &stdout, stdout_begin)?,
        open(Stream::Stderr, &stderr, stderr_begin)?,
    ];
    wakers.add(&stdout);
    wakers.add(&stderr);
    let marks = Marks::open(&paths.setup(), turn.as_ref());
    if paths.setup().exists() {
        wakers.add(&paths.setup());
    }
    let fifo = paths.stdin_fifo();
    // Not for a moment without a writer: the agent would read the end of its input.
    let stdin = match held {
        Some(held) => Some(held),
        None if fifo.exists() => Some(Control::open_fifo(&fifo).map_err(KeeperError::System)?),
        None => None,
    };
    let mut control = Control::new(stdin, turn.as_ref().map_or(0, |turn| turn.stdin_to));
    control
        .listen(paths.folder(), &paths.socket_name())
        .map_err(KeeperError::System)?;
    let now = Instant::now();
    let age = Age::of(agent.age(), paths.paused(), now);
    let turn = turn.as_ref();
    let exited = turn.is_some_and(|turn| turn.exited.is_some());
    let mut disk = DiskGuard::new(spec.min_free_bytes, turn.is_some_and(|turn| turn.frozen), now);
    // Behind a setup, the setup itself tells when the agent starts.
    disk.pending
        .extend(started.filter(|_| marks.are_over()).map(Body::Started));
    if wakers.lacks_inotify() {
        let resource =
            "inotify_instances (raise fs.inotify.max_user_instances; output is looked for on a timer)".to_owned();
        disk.pending.push(Body::Alert {
            resource,
            value: 0.0,
            threshold: 1.0,
        });
    }
    Ok(Some(Keeper {
        exit: if exited {
            ExitState::Recorded
        } else {
            ExitState::Running
        },
        turn_ended: turn.is_some_and(|turn| turn.ended().is_some()),
        pidfds: Vec::new(),
        strangers_changed: !agent.ours,
        ladder: None,
        gave_up: false,
        clock: RunningClock::new(now),
        age,
        last_words: now,
        // Of an attempt that somebody else began, only the journal knows where its records begin.
        questions: Questions::new(spec.turn, if spec.launch.is_some() { spec.journal_end } else { 0 }),
        write_again: None,
        buffer: Vec::with_capacity(READ),
        _lock: lock,
        spec,
        paths,
        writer,
        wakers,
        streams,
        control,
        disk,
        marks,
        agent,
    }))
}

/// What the journal says of the attempt that this keeper is for; `None` when it has not begun.
fn known_turn(spec: &Spec, writer: &mut Writer, fresh: bool) -> Result<Option<TurnState>, KeeperError> {
    // Catches up, so that the first batch does not look at the whole journal for what others wrote.
    drop(writer.lock(Timestamp::now())?);
    let failed = |error: promptd_journal::ReadError| KeeperError::System(error.source);
    let mut reader = Reader::open(&spec.folder).map_err(failed)?;
    if fresh && spec.launch.is_some() {
        // The server had read everything before `journal_end`, and this turn had not begun.
        reader.set_position(spec.journal_end);
        let mut begun = false;
        while let Some(piece) = reader.read().map_err(failed)? {
            begun |= whole_lines(&piece.bytes)
                .filter_map(parse_head)
                .any(|head| head.turn == spec.turn);
        }
        if !begun {
            return Ok(None);
        }
        reader.set_position(0);
    }
    let mut state = SessionState::default();
    fold(&mut reader, &mut state).map_err(failed)?;
    let this_attempt = |turn: &&TurnState| {
        turn.started
            .as_ref()
            .is_some_and(|(started, _)| started.attempt == spec.attempt)
    };
    Ok(state.turn(spec.turn).filter(this_attempt).cloned())
}

/// The agent, its `started` record where that is not in the journal yet, and its open standard input where we
/// have just made it; or the record of its end.
fn start_or_find(
    spec: &Spec,
    paths: &TurnPaths,
    turn: Option<&TurnState>,
    fresh: bool,
) -> Result<(Agent, Option<Started>, Option<File>), Exited> {
    if let Some((started, _)) = turn.and_then(|turn| turn.started.as_ref()) {
        return Ok((Agent::adopt(started, paths), None, None));
    }
    match &spec.launch {
        Some(launch) if fresh => {
            let begun = || {
                if launch.stdin == Stdin::Open {
                    make_fifo(paths).map_err(|error| format!("cannot make {}: {error}", paths.stdin_fifo().display()))
                } else {
                    Ok(None)
                }
            };
            let failed = |error| Exited {
                cause: Some(Cause::SpawnFailed),
                error: Some(error),
                ..Exited::default()
            };
            let fifo = begun().map_err(failed)?;
            let origin = Origin::of(&launch.cwd);
            let agent = Agent::start(spec, launch, paths).map_err(failed)?;
            let mut started = agent.started(launch.program.display().to_string(), spec.attempt);
            (started.begun, started.commit) = (origin.begun, origin.commit);
            Ok((agent, Some(started), fifo))
        }
        // The turn's files are there, but its start is not in the journal: a keeper died between the two.
        launch => {
            let found = Agent::find(paths).ok_or_else(|| Exited {
                cause: Some(Cause::KeeperLost),
                ..Exited::default()
            })?;
            let program = launch
                .as_ref()
                .map_or_else(String::new, |launch| launch.program.display().to_string());
            let boot_id = sys::boot_id().unwrap_or_default();
            let started = Started {
                pid: found.pid,
                program,
                attempt: spec.attempt,
                start_ticks: found.start_ticks,
                boot_id,
                begun: None,
                commit: None,
            };
            Ok((Agent::adopt(&started, paths), Some(started), None))
        }
    }
}

pub(super) fn read_spec() -> Result<Spec, KeeperError> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).map_err(KeeperError::Spec)?;
    let spec = serde_json::from_slice(&text).map_err(|error| KeeperError::Spec(error.into()))?;
    let null = File::open("/dev/null").map_err(KeeperError::System)?;
    nix::unistd::dup2_stdin(null).map_err(|errno| KeeperError::System(errno.into()))?;
    Ok(spec)
}

/// Makes the output files and takes the turn's lock; true when the files were not there before.
fn lock_output(paths: &TurnPaths) -> Result<(Flock<File>, bool), KeeperError> {
    let make = |path| {
        let mut options = OpenOptions::new();
        match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file.set_len(HOLE).map(|()| (file, true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::open(&path).map(|file| (file, false)),
            Err(error) => Err(error),
        }
    };
    let (stdout, fresh) = make(paths.stdout()).map_err(KeeperError::System)?;
    let lock = Flock::lock(stdout, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => KeeperError::AlreadyKept,
        errno => KeeperError::System(errno.into()),
    })?;
    make(paths.stderr()).map_err(KeeperError::System)?;
    Ok((lock, fresh))
}

fn make_fifo(paths: &TurnPaths) -> io::Result<Option<File>> {
    let path = paths.stdin_fifo();
    match nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Control::open_fifo(&path).map(Some),
        Err(errno) => Err(errno.into()),
    }
}

/// Appends records in a batch of their own.
pub(super) fn append(writer: &mut Writer, turn: u32, bodies: &[Body]) -> Result<(), WriteError> {
    let mut batch = writer.lock(Timestamp::now())?;
    for body in bodies {
        batch.record(turn, body)?;
    }
    batch.write()
}

/// Removes the turn's files: all that was in them is in the journal.
pub(super) fn remove_files(paths: &TurnPaths) {
    for path in paths.all() {
        // What cannot be removed now goes with the session's folder.
        let _gone = std::fs::remove_file(path);
    }
}
