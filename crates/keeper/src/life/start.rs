//! The start of a keeper: lock the turn, then start the agent, or adopt the one that another keeper started.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::Flock;
use nix::sys::stat::Mode;

use super::keeper::{ExitState, Keeper};
use crate::agent::{Agent, StartPoint, start_error};
use crate::clock::{AgentAge, RunningClock};
use crate::control::Control;
use crate::disk::DiskGuard;
use crate::error::KeeperError;
use crate::lock_holders::end_lock_holders;
use crate::paths::TurnPaths;
use crate::questions::Questions;
use crate::setup::{self, SetupProgress};
use crate::spec::{Launch, Spec, Stdin};
use crate::stream::{BLOCK, HOLE, StreamFile};
use crate::wake::WakeSources;
use promptd_journal::{FILE_NAME, ReadError, Reader, WriteError, Writer, fold, heads};
use promptd_model::{Body, Cause, Exited, SessionState, Started, Stream, StreamOffset, TurnState};
use promptd_sys as sys;

/// How long one try to write waits for other writers of the journal. Meanwhile no request is answered.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// The agent that a keeper starts with.
struct Found {
    agent: Agent,
    /// Its `started` record, if that is not in the journal yet.
    started: Option<Started>,
    /// Its open standard input, if it was created now.
    stdin: Option<File>,
}

/// Prepares, and starts or adopts the agent; `None` if there is nothing to keep.
pub(super) fn start() -> Result<Option<Keeper>, KeeperError> {
    sys::prepare_keeper().map_err(KeeperError::System)?;
    // The server's working directory would keep its file system from being unmounted.
    std::env::set_current_dir("/").map_err(KeeperError::System)?;
    let mut wake = WakeSources::new().map_err(|errno| KeeperError::System(errno.into()))?;
    let spec = Spec::from_stdin()?;
    if let Some(files) = spec.files {
        sys::set_file_limit(files).map_err(KeeperError::System)?;
    }
    let paths = TurnPaths::new(&spec.folder, spec.turn);
    let (lock, fresh) = lock_output(&paths)?;
    let mut writer = Writer::open(&spec.folder)?.with_lock_timeout(LOCK_TIMEOUT);
    let turn = recorded_turn(&spec, &mut writer, fresh)?;
    if fresh && turn.as_ref().is_some_and(|turn| turn.exited.is_some()) {
        // Another keeper finished and removed the files while the server was starting this one. The new, empty files
        // must not be taken for truncated ones.
        paths.remove_all();
        return Ok(None);
    }
    let found = match start_or_adopt(&spec, &paths, turn.as_ref(), fresh) {
        Ok(found) => found,
        Err(exited) => {
            writer.append(Timestamp::now(), spec.turn, &[Body::Exited(exited)])?;
            paths.remove_all();
            return Ok(None);
        }
    };
    let turn = turn.as_ref();
    let [stdout_begin, stderr_begin] = spec.offsets;
    let open = |stream, path: &Path, begin| {
        let fresh = StreamOffset {
            to: begin,
            base: begin,
            truncated: false,
        };
        let offset = turn.map_or(fresh, |turn| turn.offset(stream));
        StreamFile::open(stream, path, offset).map_err(KeeperError::System)
    };
    let (stdout, stderr) = (paths.stdout(), paths.stderr());
    let streams = [
        open(Stream::Stdout, &stdout, stdout_begin)?,
        open(Stream::Stderr, &stderr, stderr_begin)?,
    ];
    wake.watch(&stdout);
    wake.watch(&stderr);
    let setup = SetupProgress::open(&paths.setup(), turn);
    if paths.setup().exists() {
        wake.watch(&paths.setup());
    }
    let control = open_control(&paths, found.stdin, turn.map_or(0, |turn| turn.stdin_to))?;
    let now = Instant::now();
    let mut pending = Vec::new();
    // With a setup, the setup process announces the start of the agent.
    pending.extend(found.started.filter(|_| setup.is_complete()).map(Body::Started));
    if wake.lacks_inotify() {
        let resource = "inotify_instances (raise fs.inotify.max_user_instances; output is looked for on a timer)";
        pending.push(Body::Alert {
            resource: resource.to_owned(),
            value: 0.0,
            threshold: 1.0,
        });
    }
    let exit = match turn {
        Some(turn) if turn.exited.is_some() => ExitState::Recorded,
        Some(_) | None => ExitState::Running,
    };
    // Only a keeper that starts the attempt knows where its records begin.
    let questions_from = if spec.launch.is_some() { spec.journal_end } else { 0 };
    Ok(Some(Keeper {
        exit,
        turn_ended: turn.is_some_and(|turn| turn.ended().is_some()),
        pidfds: Vec::new(),
        adopted_tree_changed: !found.agent.is_child,
        stop: None,
        stop_failed: false,
        disk: DiskGuard::new(spec.min_free_bytes, turn.is_some_and(|turn| turn.frozen), now),
        clock: RunningClock::new(now),
        age: AgentAge::new(found.agent.kernel_age(), paths.paused(), now),
        last_activity: now,
        questions: Questions::new(spec.turn, questions_from),
        pending,
        retry_write_at: None,
        locked_since: None,
        buffer: Vec::with_capacity(BLOCK),
        agent: found.agent,
        _lock: lock,
        spec,
        paths,
        writer,
        wake,
        streams,
        control,
        setup,
    }))
}

/// Opens the control socket, and the agent's standard input if it stays open.
fn open_control(paths: &TurnPaths, stdin: Option<File>, written: u64) -> Result<Control, KeeperError> {
    let fifo = paths.stdin_fifo();
    // There must always be a writer, or the agent would read the end of its input.
    let stdin = match stdin {
        Some(stdin) => Some(stdin),
        None if fifo.exists() => Some(Control::open_fifo(&fifo).map_err(KeeperError::System)?),
        None => None,
    };
    let mut control = Control::new(stdin, written);
    let listening = control.listen(paths.folder(), &paths.socket_name());
    listening.map_err(KeeperError::System)?;
    Ok(control)
}

/// The state of this attempt according to the journal; `None` if it has not started.
fn recorded_turn(spec: &Spec, writer: &mut Writer, fresh: bool) -> Result<Option<TurnState>, KeeperError> {
    // Reads the end of the journal, so that the first batch does not search the whole journal for others' records.
    if let Err(error) = writer.lock(Timestamp::now()).map(drop) {
        if matches!(error, WriteError::Locked { .. }) {
            // The next keeper finds it unlocked.
            end_lock_holders(&spec.folder.join(FILE_NAME));
        }
        return Err(error.into());
    }
    let failed = |error: ReadError| KeeperError::System(error.source);
    let mut reader = Reader::open(&spec.folder).map_err(failed)?;
    if fresh && spec.launch.is_some() {
        // The server had read all records before `journal_end`, and this turn had not started.
        reader.set_position(spec.journal_end);
        let mut has_records = false;
        while let Some(piece) = reader.read().map_err(failed)? {
            has_records |= heads(&piece).any(|head| head.turn == spec.turn);
        }
        if !has_records {
            return Ok(None);
        }
        reader.set_position(0);
    }
    let mut state = SessionState::default();
    fold(&mut reader, &mut state).map_err(failed)?;
    let is_this_attempt = |turn: &&TurnState| {
        let started = turn.started.as_ref();
        started.is_some_and(|(started, _)| started.attempt == spec.attempt)
    };
    Ok(state.turn(spec.turn).filter(is_this_attempt).cloned())
}

/// Starts or adopts the agent; the error is the record of its end.
fn start_or_adopt(spec: &Spec, paths: &TurnPaths, turn: Option<&TurnState>, fresh: bool) -> Result<Found, Exited> {
    let adopted = |started: &Started| Agent::adopt(started, paths);
    if let Some((started, _)) = turn.and_then(|turn| turn.started.as_ref()) {
        return Ok(Found {
            agent: adopted(started),
            started: None,
            stdin: None,
        });
    }
    match &spec.launch {
        Some(launch) if fresh => start_agent(spec, launch, paths).map_err(|error| Exited {
            cause: Some(Cause::SpawnFailed),
            error: Some(error),
            ..Exited::default()
        }),
        // The turn's files exist, but its start is not in the journal: a keeper died in between.
        launch => {
            let program = launch.as_ref().map_or_else(String::new, program_of);
            let lost = || Exited {
                cause: Some(Cause::KeeperLost),
                ..Exited::default()
            };
            let started = Agent::find(paths, program, spec).ok_or_else(lost)?;
            Ok(Found {
                agent: adopted(&started),
                started: Some(started),
                stdin: None,
            })
        }
    }
}

fn start_agent(spec: &Spec, launch: &Launch, paths: &TurnPaths) -> Result<Found, String> {
    let stdin = match launch.stdin {
        Stdin::Open => {
            let fifo = paths.stdin_fifo();
            let created = create_fifo(&fifo);
            Some(created.map_err(|error| format!("cannot make {}: {error}", fifo.display()))?)
        }
        Stdin::Null | Stdin::Prompt => None,
    };
    let start_point = StartPoint::of(&launch.cwd);
    if launch.setup.is_some() {
        setup::create_file(&paths.setup()).map_err(|error| start_error(launch, &error))?;
    }
    let agent = Agent::start(spec, launch, paths)?;
    let started = agent.started(program_of(launch), spec, start_point);
    Ok(Found {
        agent,
        started: Some(started),
        stdin,
    })
}

fn program_of(launch: &Launch) -> String {
    launch.program.display().to_string()
}

/// Creates the output files and locks the turn; true if the files did not exist before.
fn lock_output(paths: &TurnPaths) -> Result<(Flock<File>, bool), KeeperError> {
    let create = |path: PathBuf| {
        let mut options = OpenOptions::new();
        match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => file.set_len(HOLE).map(|()| (file, true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                sys::open_own(&path, File::options().read(true)).map(|file| (file, false))
            }
            Err(error) => Err(error),
        }
    };
    let (stdout, fresh) = create(paths.stdout()).map_err(KeeperError::System)?;
    let lock = sys::lock_file(stdout, Duration::ZERO).map_err(|(_, error)| match error.kind() {
        io::ErrorKind::WouldBlock => {
            // It is another keeper, or a process of the agent that waited for a keeper's death; not for the next one.
            end_lock_holders(&paths.stdout());
            KeeperError::AlreadyRunning
        }
        _ => KeeperError::System(error),
    })?;
    create(paths.stderr()).map_err(KeeperError::System)?;
    Ok((lock, fresh))
}

fn create_fifo(path: &Path) -> io::Result<File> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => Control::open_fifo(path),
        Err(errno) => Err(errno.into()),
    }
}
