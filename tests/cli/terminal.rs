//! `promptd run` and `attach` show a person what an agent says and does, and let one answer; a pipe gets plain text.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use support::child::output_of;
use support::{Server, promptd, wait_until};

/// A server with an agent that says what Claude Code once said, and one that does what its prompt says.
async fn server() -> Server {
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agents/recorded");
    let agents: String = ["claude-tool", "claude-todo", "claude-400"]
        .map(|name| {
            format!(
                "[agents.{name}]\ncommand = [\"sh\", \"-c\", \"echo 'warn\\u001b[2J' >&2; sleep 0.2; cat {recorded}/{name}.ndjson\"]\n\
                 stream = \"claude-stream-json\"\n"
            )
        })
        .concat();
    Server::with().scripted_and(&agents).start().await
}

fn command(server: &Server, args: &[&str]) -> Command {
    // With a session of its own, the terminal is the one that Ctrl-C comes from.
    let mut command = Command::new("setsid");
    command.arg("--wait").arg("--ctty").arg(promptd()).args(args);
    prepared(command, server)
}

fn prepared(mut command: Command, server: &Server) -> Command {
    command.arg("--home").arg(server.home());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", &server.root);
    command
}

/// The command without a terminal.
fn piped(server: &Server, args: &[&str]) -> Child {
    let mut command = Command::new(promptd());
    command.args(args);
    let mut command = prepared(command, server);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

async fn output(server: &Server, args: &[&str]) -> Output {
    let child = piped(server, args);
    tokio::task::spawn_blocking(|| output_of("a command", child))
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The command on a terminal, and somebody who sits at it.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    fn new(server: &Server, args: &[&str], env: &[(&str, &str)]) -> Self {
        let pty = openpty(None, None).unwrap();
        let (master, slave) = (File::from(pty.master), File::from(pty.slave));
        let mut command = command(server, args);
        command.envs(env.iter().copied()).env("TERM", "xterm");
        for (name, value) in env {
            command.env(name, value);
        }
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave);
        let child = command.spawn().unwrap();
        // The command holds the terminal's other side; with it the screen ends.
        drop(command);
        let (mut reader, screen) = (master.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let shown = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                shown.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            child,
            keyboard: master,
            screen,
            reader: Some(reader),
        }
    }

    fn screen(&self) -> String {
        text(&self.screen.lock().unwrap()).replace("\r\n", "\n")
    }

    async fn shows(&self, what: &str) {
        wait_until(&format!("{what:?} on the screen"), || {
            let screen = self.screen();
            if screen.contains(what) { Ok(()) } else { Err(screen) }
        })
        .await;
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// The exit code, and all that was shown.
    async fn end(&mut self) -> (Option<i32>, String) {
        let status = wait_until("the command's end", || {
            let status = self.child.try_wait().unwrap();
            status.ok_or_else(|| self.screen())
        })
        .await;
        // The screen ends when nobody holds the terminal any more.
        let reader = self.reader.take().unwrap();
        tokio::task::spawn_blocking(|| reader.join()).await.unwrap().unwrap();
        (status.code(), self.screen())
    }

    /// Whether it shows what is typed.
    fn echoes(&self) -> bool {
        let flags = tcgetattr(&self.keyboard).unwrap().local_flags;
        flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test]
async fn terminal_shows_text_tools_and_the_outcome() {
    let server = server().await;
    let mut terminal = Terminal::new(&server, &["run", "-a", "claude-tool", "hi"], &[]);
    let (code, screen) = terminal.end().await;
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        screen.contains("\x1b[1mBash: printf made > made.txt\x1b[0m\n"),
        "{screen}"
    );
    assert!(
        screen.contains("  \x1b[32m✓\x1b[0m \x1b[2m(Bash completed with no output)\x1b[0m\n"),
        "{screen}"
    );
    assert!(screen.contains("\n\nAnswer 3.\n"), "{screen}");
    assert!(screen.contains("✓\x1b[0m completed after "), "{screen}");
    assert!(
        screen.contains(", 220 tokens in (60 cached), 14 out, $0.0009\n"),
        "{screen}"
    );
    assert!(screen.contains("go on: promptd run --session "), "{screen}");
    assert!(!screen.contains("\"type\":"), "no line of the protocol: {screen}");
    assert!(
        screen.contains("warn^[[2J") && !screen.contains("\x1b[2J"),
        "the terminal obeys no agent: {screen}"
    );

    let mut plain = Terminal::new(&server, &["run", "-a", "claude-todo", "hi"], &[("NO_COLOR", "1")]);
    let (_, screen) = plain.end().await;
    assert!(screen.contains("  ▸ Read\n  ☐ Write\n"), "{screen}");
    assert!(!screen.contains("\x1b[3") && !screen.contains("\x1b[2m"), "{screen}");
    let mut dumb = Terminal::new(&server, &["run", "-a", "claude-tool", "hi"], &[("TERM", "dumb")]);
    let (_, screen) = dumb.end().await;
    assert!(!screen.contains('\x1b'), "{screen}");
}

#[tokio::test]
async fn progress_line_appears_and_is_removed() {
    let server = server().await;
    let args = ["run", "-a", "scripted", "wait go\nsay Here."];
    let mut terminal = Terminal::new(&server, &args, &[]);
    terminal.shows(" s · working").await;
    server.touch("go");
    let (code, screen) = terminal.end().await;
    assert_eq!(code, Some(0), "{screen}");
    // Erased before the first word, and not drawn again on its line.
    assert!(screen.contains("\r\x1b[KHere.\n"), "{screen}");
}

#[tokio::test]
async fn pipe_gets_plain_text_and_stderr_the_rest() {
    let server = server().await;
    let run = output(&server, &["run", "-a", "claude-tool", "hi"]).await;
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(
        text(&run.stdout),
        "● Bash: printf made > made.txt\n  ✓ (Bash completed with no output)\nAnswer 3.\n"
    );
    assert_eq!(text(&run.stderr), "warn\x1b[2J\n", "the agent's own, as it is");
    let coloured = output(&server, &["run", "-a", "claude-tool", "--color", "always", "hi"]).await;
    assert!(
        text(&coloured.stdout).contains("\x1b[32m✓"),
        "{}",
        text(&coloured.stdout)
    );
    let verbose = output(&server, &["run", "-a", "claude-tool", "--verbose", "hi"]).await;
    assert!(
        text(&verbose.stderr).contains("\"subtype\":\"init\""),
        "{}",
        text(&verbose.stderr)
    );
    let failed = output(&server, &["run", "-a", "claude-400", "hi"]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("✗ failed ("), "{}", text(&failed.stderr));
    let updates = output(
        &server,
        &["run", "-a", "claude-tool", "--json", "--view", "updates", "hi"],
    )
    .await;
    let lines: Vec<serde_json::Value> = text(&updates.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.iter().any(|line| line["update"]["sessionUpdate"] == "tool_call"));
    assert_eq!(lines.last().unwrap()["type"], "turn_ended");
}

#[tokio::test]
async fn key_answers_a_question_and_restores_the_terminal() {
    let server = server().await;
    let args = ["run", "-a", "scripted", "--permission", "ask", "ask\nask\nsay Bye."];
    let mut terminal = Terminal::new(&server, &args, &[]);
    terminal
        .shows("Is this allowed?\x1b[0m\n  1 y  allow_once\n  2 a  allow_always\n  3 n  reject_once\n")
        .await;
    wait_until("single keys", || !terminal.echoes()).await;
    terminal.press("x");
    terminal.press("y");
    terminal.shows("→ allow-once\n").await;
    terminal.shows("told allow-once. ").await;
    wait_until("the second question", || {
        terminal.screen().matches("3 n  reject_once").count() == 2
    })
    .await;
    wait_until("single keys", || !terminal.echoes()).await;
    terminal.press("3");
    let (code, screen) = terminal.end().await;
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("told reject-once. Bye.\n"), "{screen}");
    assert!(terminal.echoes());
}

#[tokio::test]
async fn first_of_two_terminals_answers_and_both_see_it() {
    let server = server().await;
    let args = [
        "run",
        "-a",
        "scripted",
        "--id",
        "two",
        "--permission",
        "ask",
        "ask\nsay Bye.",
    ];
    let mut run = Terminal::new(&server, &args, &[]);
    run.shows("3 n  reject_once\n").await;
    let mut attached = Terminal::new(&server, &["attach", "two"], &[]);
    attached.shows("3 n  reject_once\n").await;
    wait_until("single keys", || !run.echoes() && !attached.echoes()).await;
    run.press("n");
    attached.press("y");
    let ((code, one), (_, other)) = (run.end().await, attached.end().await);
    assert_eq!(code, Some(0), "{one}");
    let answer = server.record("two", "permission_answer").await["option"].clone();
    let answer = answer.as_str().unwrap();
    for screen in [one, other] {
        assert!(screen.contains(&format!("  → {answer}\n")), "{screen}");
        assert!(screen.contains(&format!("told {answer}. Bye.\n")), "{screen}");
        assert!(
            screen.matches('→').count() == 1 && !screen.contains("promptd:"),
            "{screen}"
        );
    }
    assert!(run.echoes() && attached.echoes());
}

#[tokio::test]
async fn notices_start_on_their_own_line() {
    let server = server().await;
    let mut terminal = Terminal::new(&server, &["run", "-a", "shell", "printf half"], &[]);
    let (_, screen) = terminal.end().await;
    assert!(screen.contains("half\n\x1b[32m✓\x1b[0m completed"), "{screen}");
    let piped = output(&server, &["run", "-a", "shell", "printf half"]).await;
    assert_eq!(text(&piped.stdout), "half");
}

#[tokio::test]
async fn without_a_terminal_the_answer_command_is_shown() {
    let server = server().await;
    let run = piped(
        &server,
        &["run", "-a", "scripted", "--permission", "ask", "ask\nsay Bye."],
    );
    let list = async || server.get("/v1/sessions?status=waiting").await["sessions"][0]["id"].clone();
    let mut id = list().await;
    while id.is_null() {
        id = list().await;
    }
    let id = id.as_str().unwrap();
    let ps = output(&server, &["ps"]).await;
    assert!(text(&ps.stdout).contains("waiting"), "{}", text(&ps.stdout));
    let question = server.question(id).await["id"].as_str().unwrap().to_owned();
    assert_eq!(
        output(&server, &["answer", id, &question, "perhaps"])
            .await
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        output(&server, &["answer", id, &question, "reject_once"])
            .await
            .status
            .code(),
        Some(0)
    );
    let run = tokio::task::spawn_blocking(|| output_of("a command", run))
        .await
        .unwrap();
    assert_eq!(run.status.code(), Some(0));
    assert_eq!(
        text(&run.stdout),
        "● rm -rf /\n  → reject-once\ntold reject-once. Bye.\n"
    );
    let hint = format!("the agent asks: rm -rf /; answer with `promptd answer {id} {question} OPTION`");
    assert!(text(&run.stderr).contains(&hint), "{}", text(&run.stderr));
}

#[tokio::test]
async fn ctrl_c_interrupts_a_run_but_only_detaches_attach() {
    let server = server().await;
    let mut run = Terminal::new(&server, &["run", "-a", "scripted", "say Begun.\nhang"], &[]);
    run.shows("Begun.").await;
    let sessions = server.get("/v1/sessions").await;
    let id = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
    let mut attached = Terminal::new(&server, &["attach", &id], &[]);
    attached.shows("> say Begun.\x1b[0m\n").await;
    attached.shows("\n\nBegun.").await;
    attached.press("\x03");
    assert_eq!(attached.end().await.0, Some(130));
    assert_eq!(server.session(&id).await["status"], "running");
    run.press("\x03");
    let (code, screen) = run.end().await;
    assert_eq!(code, Some(130), "{screen}");
    assert!(
        screen.contains("interrupting the turn") && screen.contains("cancelled"),
        "{screen}"
    );
}

#[tokio::test]
async fn run_continues_a_session_with_its_next_turn() {
    let server = server().await;
    let first = output(&server, &["run", "-a", "scripted", "--id", "talk", "say One."]).await;
    assert_eq!(text(&first.stdout), "One.\n", "{}", text(&first.stderr));
    let second = output(&server, &["run", "--session", "talk", "say Two."]).await;
    assert_eq!(text(&second.stdout), "Two.\n", "{}", text(&second.stderr));
    let attached = output(&server, &["attach", "talk", "--after", "0"]).await;
    assert_eq!(text(&attached.stdout), "> say One.\nOne.\n> say Two.\nTwo.\n");
    let wrong = output(&server, &["run", "--session", "talk", "--model", "x", "hi"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    let file = server.root.join("mcp.json");
    std::fs::write(
        &file,
        "{\"mcpServers\": {\"a\": {\"command\": 7, \"env\": {\"KEY\": \"s3cret\"}}}}",
    )
    .unwrap();
    let wrong = output(&server, &["run", "--mcp-config", file.to_str().unwrap(), "hi"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("mcp.json:1:"), "{}", text(&wrong.stderr));
}
