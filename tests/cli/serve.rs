//! `promptd serve`: its end, its configuration, its home.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use support::child::{exit_code, output_of};
use support::wait_until_blocking;

use crate::run::{Home, assert_whole, code, numbers_until, signal, text};

/// A server that writes its log to a pipe.
fn serve(home: &Home, args: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = home.start(&[&["serve", "--listen", "127.0.0.1:0"], args].concat());
    let mut log = BufReader::new(child.stderr.take().unwrap());
    logged(&mut log, "listening");
    (child, log)
}

/// Reads the log up to a line that holds `what`.
fn logged(log: &mut impl std::io::BufRead, what: &str) -> String {
    for line in log.lines() {
        let line = line.unwrap();
        if line.contains(what) {
            return line;
        }
    }
    panic!("the log has no {what:?}");
}

#[test]
fn sigterm_leaves_agents_to_the_next_server() {
    let home = Home::new("cli-serve");
    let stop = home.path("stop");
    // Streams end at once, not with the grace, for which nobody here would wait.
    let (mut first, _log) = serve(&home, &["--grace", "600"]);
    let run = home.start(&["run", "-a", "shell", &numbers_until(&stop)]);
    wait_until_blocking("it runs", || text(&home.promptd(&["ps"]).stdout).contains("running"));
    signal(&first, Signal::SIGTERM);
    assert_eq!(exit_code("the server", &mut first), Some(0));
    // The run may host by now; the next server waits until it has the home, or gives up and says so.
    wait_until_blocking("somebody serves", || {
        text(&home.promptd(&["ps"]).stdout).contains("running")
    });
    fs::write(&stop, "").unwrap();
    let output = output_of("the run", run);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_whole(&output.stdout);
    let (mut second, _log) = serve(&home, &[]);
    assert!(text(&home.promptd(&["ps"]).stdout).contains("completed"));
    signal(&second, Signal::SIGINT);
    assert_eq!(exit_code("the server", &mut second), Some(0));
}

/// A listener without connections ends before the server has noticed its own shutdown: that was taken for a failure, and
/// connections of the others were cut off.
#[test]
fn shutdown_is_not_taken_for_the_failure_of_a_listener() {
    let home = Home::new("cli-shutdown");
    for _ in 0..20 {
        let (mut server, mut log) = serve(&home, &["--listen", "127.0.0.1:0"]);
        signal(&server, Signal::SIGTERM);
        assert_eq!(exit_code("the server", &mut server), Some(0));
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("ERROR"), "{rest}");
    }
}

#[test]
fn stop_agents_option_stops_agents_on_exit() {
    let home = Home::new("cli-stop-agents");
    let (mut server, _log) = serve(&home, &["--stop-agents", "--grace", "1"]);
    let run = home.promptd(&[
        "run",
        "-a",
        "shell",
        "-d",
        "trap '' TERM INT; echo $$; while :; do sleep 1; done",
    ]);
    let id = text(&run.stdout).trim().to_owned();
    wait_until_blocking("it runs", || !home.promptd(&["logs", &id]).stdout.is_empty());
    let pid: i32 = text(&home.promptd(&["logs", &id]).stdout).trim().parse().unwrap();
    signal(&server, Signal::SIGTERM);
    assert_eq!(exit_code("the server", &mut server), Some(0));
    assert!(kill(Pid::from_raw(pid), None).is_err(), "{pid} lives on");
    assert!(text(&home.promptd(&["ps"]).stdout).contains("cancelled"));
}

#[test]
fn variables_are_trimmed_and_named_in_errors() {
    let home = Home::new("cli-variables");
    let mut command = home.command(&["serve"]);
    command
        .env("PROMPTD_HOME", format!("{}\n", home.path("state").display()))
        .env("PROMPTD_LISTEN", " 127.0.0.1:0, ,")
        .env("PROMPTD_AUTH", "token\n")
        .env("PROMPTD_GRACE", " ");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    logged(&mut BufReader::new(child.stderr.take().unwrap()), "listening");
    assert!(home.path("state").join("control.sock").exists());
    signal(&child, Signal::SIGTERM);
    assert_eq!(exit_code("the server", &mut child), Some(0));
    for (args, expected) in [
        (["serve"].as_slice(), "PROMPTD_AUTH"),
        (&["serve", "--auth", "toke"], "--auth <MODE>"),
    ] {
        let mut command = home.command(args);
        let refused = output_of(
            "the refusal",
            command
                .env("PROMPTD_AUTH", "tokn")
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        assert_eq!(code(&refused), 2);
        assert!(text(&refused.stderr).contains(expected), "{}", text(&refused.stderr));
    }
}

#[test]
fn changed_configuration_is_reloaded_unless_invalid() {
    let home = Home::new("cli-reload");
    let (mut server, mut log) = serve(&home, &[]);
    let config = home.path(".promptd/config.toml");
    fs::write(
        &config,
        "[agents.hello]\ncommand = [\"/bin/sh\", \"-c\", \"echo hello\"]\n",
    )
    .unwrap();
    logged(&mut log, "reloaded");
    let run = home.promptd(&["run", "-a", "hello", "x"]);
    assert_eq!(text(&run.stdout), "hello\n", "{}", text(&run.stderr));
    fs::write(&config, "[limits]\nrunnin = 3\n").unwrap();
    let line = logged(&mut log, "stays in force");
    assert!(
        line.contains("config.toml:2: limits.runnin") && line.contains("did you mean limits.running?"),
        "{line}"
    );
    signal(&server, Signal::SIGHUP);
    logged(&mut log, "stays in force");
    assert_eq!(text(&home.promptd(&["run", "-a", "hello", "x"]).stdout), "hello\n");
    signal(&server, Signal::SIGTERM);
    assert_eq!(exit_code("the server", &mut server), Some(0));
}

#[test]
fn remote_server_requires_the_token() {
    let home = Home::new("cli-remote");
    let mut child = home
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .env("PROMPTD_TOKEN", "secret")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let line = logged(&mut log, "listening");
    let address = line.split('"').nth(1).unwrap().to_owned();
    let url = format!("http://{address}");
    let ask = |token: &str| {
        home.command(&["--url", &url, "run", "-a", "shell", "echo remote"])
            .env("PROMPTD_TOKEN", token)
            .output()
            .unwrap()
    };
    let output = ask("secret");
    assert_eq!(
        (code(&output), text(&output.stdout).as_str()),
        (0, "remote\n"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(code(&ask("wrong")), 2);
    signal(&child, Signal::SIGTERM);
    assert_eq!(exit_code("the server", &mut child), Some(0));
}
