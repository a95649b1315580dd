//! What `promptd run` can say with a prompt: files, images, a new conversation, and a message for the agent that works.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use support::child::{output_of, run};
use support::wait_until_blocking;

use crate::run::{Home, code, text};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

/// Notes how it was started and its first line. With `wait` in it, it works until it gets another one.
const CLAUDE: &str = r#"#!/bin/sh
echo "$*" >> arguments
read -r prompt
printf '%s\n' "$prompt" >> heard
printf '{"type":"system","subtype":"init","session_id":"c-1"}\n'
case "$prompt" in *wait*) read -r message; printf '%s\n' "$message" >> heard ;; esac
printf '{"type":"result","subtype":"success","is_error":false,"result":"seen","session_id":"c-1","num_turns":1}\n'
"#;

/// A home whose claude is a script.
struct Lab(Home);

impl Lab {
    fn new(name: &str) -> Self {
        let home = Home::new(name);
        let programs = home.path("bin");
        fs::create_dir_all(&programs).unwrap();
        fs::write(programs.join("claude"), CLAUDE).unwrap();
        fs::set_permissions(programs.join("claude"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(home)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.0.path("bin").display()));
        command
    }

    fn promptd(&self, args: &[&str]) -> Output {
        run(&mut self.command(args))
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.path(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.path("workspace").join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn sessions(&self) -> Vec<Value> {
        serde_json::from_slice(&self.promptd(&["ps", "--json"]).stdout).unwrap()
    }

    /// The records of a type in the first session.
    fn records(&self, kind: &str) -> Vec<Value> {
        let id = self.sessions()[0]["id"].as_str().unwrap().to_owned();
        let records = text(&self.promptd(&["logs", &id, "--json"]).stdout);
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter(|record| record["type"] == kind).collect()
    }
}

fn blocks(heard: &str) -> Value {
    serde_json::from_str::<Value>(heard).unwrap()["message"]["content"].clone()
}

#[test]
fn images_and_files_reach_the_agent() {
    let lab = Lab::new("cli-attachments");
    // What it is decides, and not its name.
    let image = lab.file("screen.txt", PNG);
    let pdf = lab.file("paper", b"%PDF-1.7 and more");
    let notes = lab.file("my notes.md", "## höre\n".as_bytes());
    let args = [
        "run", "-a", "claude", "--image", &image, "--file", &pdf, "--file", &notes, "look", "here",
    ];
    let output = lab.promptd(&args);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let heard = blocks(&lab.lines("heard")[0]);
    assert_eq!(heard[0], json!({ "type": "text", "text": "look here" }));
    let kinds: Vec<_> = (1..4).map(|index| heard[index]["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["document", "text", "image"], "{heard}");
    assert_eq!(heard[3]["source"]["media_type"], "image/png");
    let record = &lab.records("prompt")[0]["blocks"];
    assert_eq!(record[2]["resource"]["text"], "## höre\n");
    let uri = record[2]["resource"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with("/my%20notes.md"), "{uri}");
}

#[test]
fn wrong_files_are_refused_with_what_would_be_right() {
    let lab = Lab::new("cli-wrong-files");
    let folder = lab.0.path("bin").display().to_string();
    let missing = lab.0.path("missing").display().to_string();
    let empty = lab.file("empty", b"");
    let large = lab.file("large", b"%PDF-");
    fs::File::options()
        .write(true)
        .open(&large)
        .unwrap()
        .set_len(20_971_521)
        .unwrap();
    let binary = lab.file("binary", b"\x7fELF\0\0\xff");
    let latin = lab.file("latin", b"h\xf6re");
    let nul = lab.file("nul", b"a\0b");
    let image = lab.file("image.png", PNG);
    let script = lab.file("script.png", b"#!/bin/sh");
    for (flag, path, right) in [
        ("--file", &missing, "check the path"),
        ("--image", &missing, "check the path"),
        ("--file", &folder, "is a folder; name one file"),
        ("--image", &folder, "is a folder"),
        ("--file", &empty, "is empty"),
        ("--image", &empty, "is empty"),
        ("--file", &large, "20 MiB, the limit; put it into the workspace"),
        ("--image", &large, "20 MiB, the limit"),
        ("--file", &binary, "neither UTF-8 text nor PDF"),
        ("--file", &latin, "neither UTF-8 text nor PDF"),
        ("--file", &nul, "neither UTF-8 text nor PDF"),
        ("--file", &image, "use --image"),
        ("--image", &script, "no PNG, JPEG, GIF or WebP"),
    ] {
        let refused = lab.promptd(&["run", "-a", "claude", flag, path, "x"]);
        let said = text(&refused.stderr);
        assert_eq!(code(&refused), 2, "{said}");
        assert!(
            said.contains(path.as_str()) && said.contains(right),
            "{flag} {path}: {said}"
        );
    }
    let text_only = lab.promptd(&["run", "-a", "shell", "--image", &image, "true"]);
    assert_eq!(code(&text_only), 2);
    assert!(
        text(&text_only.stderr).contains("claude"),
        "those that take images are named"
    );
    assert!(lab.sessions().is_empty());
}

#[test]
fn file_can_be_a_pipe() {
    let lab = Lab::new("cli-pipe-file");
    let fifo = lab.0.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut child = lab.command(&["run", "-a", "claude", "--file", &fifo.display().to_string(), "review"]);
    let child = child
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    fs::write(&fifo, "diff of mine").unwrap();
    assert_eq!(code(&output_of("a command", child)), 0);
    // A text needs no agent that takes files: it is a part of the prompt.
    let said = lab.records("prompt")[0]["text"].to_string();
    assert!(said.starts_with("\"review") && said.contains("diff of mine"), "{said}");
}

#[test]
fn fresh_begins_a_new_conversation_in_a_session() {
    let lab = Lab::new("cli-fresh");
    let id = text(
        &lab.promptd(&["run", "-a", "claude", "--id", "s", "--detach", "one"])
            .stdout,
    );
    assert_eq!(id, "s\n");
    lab.promptd(&["attach", "s"]);
    for more in [&["two"][..], &["--fresh", "three"]] {
        let output = lab.promptd(&[&["run", "--session", "s"], more].concat());
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let resumes: Vec<bool> = lab
        .lines("arguments")
        .iter()
        .map(|line| line.contains("--resume c-1"))
        .collect();
    assert_eq!(resumes, [false, true, false]);
    assert_eq!(lab.records("prompt")[2]["fresh"], true);
}

#[test]
fn message_reaches_the_agent_that_works() {
    let lab = Lab::new("cli-steer");
    let first = lab
        .command(&["run", "-a", "claude", "--permission", "ask", "--id", "s", "wait"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_blocking("the prompt", || !lab.lines("heard").is_empty());
    let steered = lab.promptd(&["run", "--session", "s", "--when", "now", "only", "tests"]);
    assert_eq!(code(&steered), 0, "{}", text(&steered.stderr));
    assert!(text(&steered.stdout).contains("seen"), "it shows the turn to its end");
    assert_eq!(code(&output_of("a command", first)), 0);
    assert_eq!(blocks(&lab.lines("heard")[1])[0]["text"], "only tests");
    let turns = lab.sessions()[0]["turns"].as_array().unwrap().len();
    assert_eq!(turns, 1);
    let late = lab.promptd(&["run", "--session", "s", "--when", "now", "x"]);
    assert!(
        code(&late) == 2 && text(&late.stderr).contains("no running turn"),
        "{}",
        text(&late.stderr)
    );
    let next = lab.promptd(&["run", "--session", "s", "--when", "next", "x"]);
    assert_eq!(code(&next), 0, "{}", text(&next.stderr));
}

#[test]
fn flags_for_a_turn_need_a_session_and_help_teaches_them() {
    let lab = Lab::new("cli-turn-flags");
    for wrong in [
        &["--fresh", "x"][..],
        &["--when", "now", "x"],
        &["--session", "s", "--when", "later", "x"],
        &["--session", "s", "--when", "now", "--fresh", "x"],
    ] {
        let output = lab.promptd(&[&["run"], wrong].concat());
        assert_eq!(code(&output), 2, "{wrong:?}: {}", text(&output.stderr));
    }
    let help = text(&lab.promptd(&["run", "--help"]).stdout);
    for taught in [
        "--fresh",
        "--when <WHEN>",
        "--file <PATH>",
        "--image <PATH>",
        "--cwd <DIR>",
        "`new`: a folder",
    ] {
        assert!(help.contains(taught), "{taught}: {help}");
    }
    let own = lab.promptd(&["run", "-a", "shell", "--cwd", "new", "basename $PWD; cd ..; pwd"]);
    let said = text(&own.stdout);
    let workspace = lab.0.path("workspace");
    let [name, above] = said.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(name.starts_with("session-") && Path::new(above) == workspace, "{said}");
}
