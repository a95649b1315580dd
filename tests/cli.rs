//! The command line through the real binary: what it prints, how it exits, who hosts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

mod server;

use crate::support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::git::git;
use support::{PATIENCE, PROMPTD, folder, has_program};

/// A home of its own; what is left running in it ends with the test.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        Self(folder(name))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROMPTD);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", &self.0).stdin(Stdio::null());
        command
    }

    fn promptd(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let ids = self.promptd(&["ps", "--status", "running", "--json"]).stdout;
        let sessions: Vec<serde_json::Value> = serde_json::from_slice(&ids).unwrap_or_default();
        for session in sessions {
            self.promptd(&["stop", session["id"].as_str().unwrap(), "--grace", "0"]);
        }
        let _removed = fs::remove_dir_all(&self.0);
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// A script that goes on until the test says so.
fn numbers_until(stop: &Path) -> String {
    format!(
        "i=0; while [ ! -e {} ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo last $i",
        stop.display()
    )
}

/// 1, 2, … and `last n`, without a hole and without a line twice.
fn assert_whole(output: &[u8]) {
    let output = text(output);
    let lines: Vec<&str> = output.lines().collect();
    let (last, numbers) = lines.split_last().unwrap();
    let expected: Vec<String> = (1..=numbers.len()).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
    assert_eq!(*last, format!("last {}", numbers.len()));
}

#[test]
fn run_gives_the_agents_exact_bytes_and_its_end_as_exit_code() {
    let home = Home::new("cli-run");
    let script = r"printf 'a\0\377\nno newline'; printf 'oops' >&2";
    let output = home.promptd(&["run", "-a", "shell", script]);
    assert_eq!(
        (code(&output), output.stdout.as_slice()),
        (0, b"a\0\xff\nno newline".as_slice())
    );
    assert_eq!(
        text(&output.stderr),
        "oops",
        "nothing of ours where stderr is no terminal"
    );
    assert_eq!(code(&home.promptd(&["run", "-a", "shell", "exit 3"])), 1);
    assert_eq!(
        code(&home.promptd(&["run", "-a", "shell", "--timeout", "0.2", "sleep 60"])),
        124
    );
}

#[test]
fn run_clones_and_sets_up_before_the_agent_begins() {
    if !has_program("git") {
        return;
    }
    let home = Home::new("cli-repo");
    let work = home.path("job");
    fs::create_dir(&work).unwrap();
    git(&work, &["init", "--quiet", "--initial-branch=main"]);
    git(&work, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    git(&work, &["tag", "v1"]);
    git(&work, &["commit", "--quiet", "--allow-empty", "--message", "second"]);
    let url = format!("file://{}", work.display());
    let setup = ["--setup", "echo one > setup", "--setup", "echo two >> setup"];
    let script = "cat setup; git log -1 --format=%s; basename \"$PWD\"";
    let run = |more: &[&str]| home.promptd(&[&["run", "-a", "shell"], &setup[..], more, &[script]].concat());
    let output = run(&["--repo", &url, "--ref", "v1"]);
    assert_eq!(
        text(&output.stdout),
        "one\ntwo\nfirst\njob\n",
        "{}",
        text(&output.stderr)
    );
    assert_eq!(code(&output), 0);
    assert_eq!(code(&run(&["--ref", "v1"])), 2, "of which repository?");
    let missing = run(&["--repo", &url, "--token-env", "NO_SUCH_VARIABLE"]);
    assert_eq!(code(&missing), 2);
}

#[test]
fn wrong_use_is_2_and_nobody_there_is_3() {
    let home = Home::new("cli-usage");
    let unknown = home.promptd(&["run", "-a", "shel", "x"]);
    assert_eq!(code(&unknown), 2);
    assert!(
        text(&unknown.stderr).contains("did you mean \"shell\"?"),
        "{}",
        text(&unknown.stderr)
    );
    assert_eq!(code(&home.promptd(&["run"])), 2, "an empty standard input is no prompt");
    assert_eq!(code(&home.promptd(&["stop", "no-such-session"])), 2);
    assert_eq!(code(&home.promptd(&["--url", "http://127.0.0.1:1", "ps"])), 3);
    fs::write(home.path(".promptd/config.toml"), "\ngrase = 3").unwrap();
    let config = home.promptd(&["serve"]);
    assert_eq!(code(&config), 2);
    assert!(text(&config.stderr).contains("config.toml:2: grase is no key of the configuration; did you mean grace?"));
}

#[test]
fn the_prompt_comes_from_standard_input_and_json_gives_records() {
    let home = Home::new("cli-stdin");
    let mut command = home.command(&["run", "-a", "shell", "--json", "--env", "WORD=hi", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo $WORD").unwrap();
    let output = child.wait_with_output().unwrap();
    let records: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seqs: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=u64::try_from(records.len()).unwrap()).collect::<Vec<_>>());
    assert!(
        records
            .iter()
            .any(|record| record["type"] == "stdout" && record["data"] == "hi")
    );
    assert_eq!(records.last().unwrap()["type"], "turn_ended");
}

#[test]
fn a_detached_agent_goes_on_without_a_server_and_can_be_attached_to_and_stopped() {
    let home = Home::new("cli-detach");
    let stop = home.path("stop");
    let output = home.promptd(&["run", "-a", "shell", "--detach", &numbers_until(&stop)]);
    let id = text(&output.stdout).trim().to_owned();
    assert!(
        text(&home.promptd(&["ps"]).stdout)
            .lines()
            .any(|line| line.starts_with(&id) && line.contains("running"))
    );
    let attached = home.start(&["attach", &id]);
    fs::write(&stop, "").unwrap();
    let attached = attached.wait_with_output().unwrap();
    assert_eq!(code(&attached), 0, "{}", text(&attached.stderr));
    assert_whole(&attached.stdout);
    assert_whole(&home.promptd(&["logs", &id]).stdout);
    assert_whole(
        &home
            .promptd(&["logs", &id, "--stream", "stdout", "--turn", "1", "-f"])
            .stdout,
    );
    assert_eq!(home.promptd(&["logs", &id, "--stream", "stderr"]).stdout, b"");

    let stubborn = home.promptd(&[
        "run",
        "-a",
        "shell",
        "-d",
        "trap '' TERM INT; while :; do sleep 1; done",
    ]);
    let stopped = home.promptd(&["stop", text(&stubborn.stdout).trim(), "--grace", "0.2"]);
    assert_eq!((code(&stopped), text(&stopped.stdout).as_str()), (0, "survivors: 0\n"));
}

#[test]
fn when_the_run_that_hosts_leaves_or_is_killed_the_others_take_over_and_lose_nothing() {
    let home = Home::new("cli-take-over");
    let (first_stop, stop) = (home.path("first"), home.path("stop"));
    let first = home.start(&["run", "-a", "shell", &numbers_until(&first_stop)]);
    let control = home.path(".promptd/control.sock");
    until("the first hosts", || control.exists());
    let mut rest: Vec<Child> = (0..3)
        .map(|_| home.start(&["run", "-a", "shell", &numbers_until(&stop)]))
        .collect();
    let running = |count| {
        until("all run", || {
            let sessions = home.promptd(&["ps", "--status", "running", "--json"]).stdout;
            serde_json::from_slice::<Vec<serde_json::Value>>(&sessions).is_ok_and(|sessions| sessions.len() == count)
        });
    };
    running(4);
    fs::write(&first_stop, "").unwrap();
    let first = first.wait_with_output().unwrap();
    assert_eq!(code(&first), 0);
    assert_whole(&first.stdout);
    running(3);
    // One of the rest may be the host now; whoever it is, the others do not depend on it.
    signal(&rest[0], Signal::SIGKILL);
    rest.remove(0).wait().unwrap();
    running(3);
    fs::write(&stop, "").unwrap();
    for run in rest {
        let output = run.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert_whole(&output.stdout);
    }
}

#[test]
fn ctrl_c_once_interrupts_and_twice_stops() {
    let home = Home::new("cli-interrupt");
    let begun = |run: &mut Child| {
        let mut line = String::new();
        BufReader::new(run.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "begun\n");
    };
    let mut polite = home.start(&["run", "-a", "shell", "echo begun; sleep 60"]);
    begun(&mut polite);
    signal(&polite, Signal::SIGINT);
    let output = polite.wait_with_output().unwrap();
    assert_eq!(code(&output), 130);
    assert!(text(&output.stderr).contains("interrupting the turn"));

    let mut deaf = home.start(&[
        "run",
        "-a",
        "shell",
        "trap '' INT TERM; echo begun; while :; do sleep 1; done",
    ]);
    begun(&mut deaf);
    let mut said = BufReader::new(deaf.stderr.take().unwrap());
    let mut line = String::new();
    signal(&deaf, Signal::SIGINT);
    said.read_line(&mut line).unwrap();
    signal(&deaf, Signal::SIGINT);
    said.read_to_string(&mut line).unwrap();
    assert!(line.contains("stopping the turn"), "{line}");
    assert_eq!(deaf.wait().unwrap().code(), Some(130));
}

#[test]
fn a_reader_that_has_gone_ends_the_run_quietly_and_not_the_agent() {
    let home = Home::new("cli-pipe");
    let stop = home.path("stop");
    let mut run = home.start(&["run", "-a", "shell", &numbers_until(&stop)]);
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    let output = run.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr).as_str()), (141, ""));
    assert!(text(&home.promptd(&["ps"]).stdout).contains("running"));
}

#[test]
fn doctor_and_openapi_answer_without_a_server() {
    let home = Home::new("cli-doctor");
    let doctor = home.promptd(&["doctor", "--json"]);
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let state = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap()["state"].clone();
    for name in [
        "configuration",
        "agent shell",
        "workspace",
        "home",
        "server",
        "platform",
    ] {
        assert_eq!(state(name), "ok", "{name}");
    }
    assert!(!home.path(".promptd").exists(), "a doctor changes nothing");
    let failed = checks.iter().any(|check| check["state"] == "fail");
    assert_eq!(code(&doctor), i32::from(failed));
    let openapi = home.promptd(&["openapi"]);
    let document: serde_json::Value = serde_json::from_slice(&openapi.stdout).unwrap();
    assert!(document["paths"]["/v1/sessions"].is_object());
}
