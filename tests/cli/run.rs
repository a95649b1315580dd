//! The command line through the real binary: what it prints, how it exits, who hosts.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::child::{exit_code, output_of, run};
use support::git::git;
use support::{folder, promptd, require_program, wait_until_blocking};

/// A home of its own; what is left running in it ends with the test.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new(name: &str) -> Self {
        Self(folder(name))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(promptd());
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", &self.0).stdin(Stdio::null());
        command
    }

    pub(crate) fn promptd(&self, args: &[&str]) -> Output {
        run(&mut self.command(args))
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
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

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

/// A script that goes on until the test says so.
pub(crate) fn numbers_until(stop: &Path) -> String {
    format!(
        "i=0; while [ ! -e {} ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo last $i",
        stop.display()
    )
}

/// 1, 2, … and `last n`, without a hole and without a line twice.
pub(crate) fn assert_whole(output: &[u8]) {
    let output = text(output);
    let lines: Vec<&str> = output.lines().collect();
    let (last, numbers) = lines.split_last().unwrap();
    let expected: Vec<String> = (1..=numbers.len()).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
    assert_eq!(*last, format!("last {}", numbers.len()));
}

#[test]
fn run_prints_exact_bytes_and_sets_the_exit_code() {
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
    for (script, exit) in [("exit 3", 3), ("exit 123", 123), ("exit 200", 1), ("kill -9 $$", 1)] {
        assert_eq!(code(&home.promptd(&["run", "-a", "shell", script])), exit, "{script}");
    }
    let help = text(&home.promptd(&["run", "--help"]).stdout);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("its own exit code, 1 to 123"), "{help}");
    assert_eq!(
        code(&home.promptd(&["run", "-a", "shell", "--timeout", "0.2", "sleep 60"])),
        124
    );
}

#[test]
fn run_clones_and_sets_up_before_the_agent() {
    require_program("git", "git");
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
fn usage_errors_exit_2_and_no_server_exits_3() {
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
fn variables_win_over_the_file_and_empty_ones_do_not_count() {
    let home = Home::new("cli-variables");
    fs::create_dir_all(home.path(".promptd")).unwrap();
    fs::write(home.path(".promptd/config.toml"), "listen = \"127.0.0.1:3\"").unwrap();
    let doctor = |variables: &[(&str, &str)]| {
        let mut command = home.command(&["doctor"]);
        text(&command.envs(variables.iter().copied()).output().unwrap().stdout)
    };
    for (value, expected) in [
        ("", "listen on 127.0.0.1:3\n"),
        (
            "127.0.0.1:2, unix:/run/p.sock",
            "listen on 127.0.0.1:2, unix:/run/p.sock\n",
        ),
        ("2", "PROMPTD_LISTEN: invalid value '2': write 127.0.0.1:2 for"),
    ] {
        let output = doctor(&[("PROMPTD_LISTEN", value)]);
        assert!(output.contains(expected), "{output}");
    }
    let output = doctor(&[("PROMPTD_AUTH", "tokn")]);
    assert!(output.contains("PROMPTD_AUTH") && output.contains("token"), "{output}");
}

#[test]
fn prompt_from_stdin_and_json_output() {
    let home = Home::new("cli-stdin");
    let mut command = home.command(&["run", "-a", "shell", "--json", "--env", "WORD=hi", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo $WORD").unwrap();
    let output = output_of("a command", child);
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
fn detached_agent_can_be_attached_and_stopped() {
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
    let attached = output_of("a command", attached);
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
fn other_runs_take_over_when_the_host_exits() {
    let home = Home::new("cli-take-over");
    let (first_stop, stop) = (home.path("first"), home.path("stop"));
    let first = home.start(&["run", "-a", "shell", &numbers_until(&first_stop)]);
    let control = home.path(".promptd/control.sock");
    wait_until_blocking("the first hosts", || control.exists());
    let mut rest: Vec<Child> = (0..3)
        .map(|_| home.start(&["run", "-a", "shell", &numbers_until(&stop)]))
        .collect();
    let running = |count| {
        wait_until_blocking("all run", || {
            let sessions = home.promptd(&["ps", "--status", "running", "--json"]).stdout;
            serde_json::from_slice::<Vec<serde_json::Value>>(&sessions).is_ok_and(|sessions| sessions.len() == count)
        });
    };
    running(4);
    fs::write(&first_stop, "").unwrap();
    let first = output_of("a command", first);
    assert_eq!(code(&first), 0);
    assert_whole(&first.stdout);
    running(3);
    // One of the rest may be the host now; whoever it is, the others do not depend on it.
    signal(&rest[0], Signal::SIGKILL);
    output_of("a run that was killed", rest.remove(0));
    running(3);
    fs::write(&stop, "").unwrap();
    for run in rest {
        let output = output_of("a command", run);
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
    let output = output_of("a command", polite);
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
    assert_eq!(exit_code("a run that was stopped", &mut deaf), Some(130));
}

#[test]
fn closed_pipe_ends_the_run_but_not_the_agent() {
    let home = Home::new("cli-pipe");
    let stop = home.path("stop");
    let mut run = home.start(&["run", "-a", "shell", &numbers_until(&stop)]);
    let mut line = String::new();
    BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    let output = output_of("a command", run);
    assert_eq!((code(&output), text(&output.stderr).as_str()), (141, ""));
    assert!(text(&home.promptd(&["ps"]).stdout).contains("running"));
}

#[test]
fn doctor_and_openapi_work_without_a_server() {
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
