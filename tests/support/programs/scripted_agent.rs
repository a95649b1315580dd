//! An agent that speaks ACP and does what the prompt says, word for word, also what no agent should do.
//!
//! A prompt is a line per step:
//!
//! | step | what it does |
//! |---|---|
//! | `say TEXT` | writes a piece of its answer |
//! | `chunk JSON` | the same with a text as JSON, whatever is escaped in it |
//! | `late TEXT` | the same, after its response to the prompt |
//! | `ask` | asks whether it may run a tool, waits, and says what it was told |
//! | `ask-odd` | the same, with nothing but "always" to choose from |
//! | `form` | asks with a form, waits, and says what it was told |
//! | `ask-back FILE` | asks, and takes it back when there is such a file |
//! | `silent N` | is silent for N seconds |
//! | `wait FILE` | is silent until there is such a file |
//! | `hang` | is silent until it is cancelled |
//! | `deaf` | from now on it ignores cancellations and every signal that it can ignore |
//! | `garbage` | writes what is no message |
//! | `exit N` | exits with N, in the middle |
//! | `linger` | does not leave when all is said |
//! | `orphan` | leaves a process behind in its tree |
//!
//! Its arguments:
//!
//! | argument | what it does |
//! |---|---|
//! | `forgets` | begins another session instead of the one to load |
//! | `lost` | refuses to load a session; each session is a new one |
//! | `noisy` | writes what a terminal would get around each message |
//! | `login` | demands a login, which needs the variable AGENT_KEY |
//! | `text-only` | takes no images and no files |
//! | `METHOD` | never answers this method |
//!
//! All that it is told goes to the file `heard` in its working directory, a line per line, with START and EOF. It needs
//! nothing but the standard library: `build.rs` compiles it by itself.

use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Command, exit};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::Duration;

/// The ways to log in: one that a person has to go, and one with a key.
const LOGINS: &str = r#"[{"id":"browser","name":"Log in with a browser"},{"type":"env_var","id":"key","name":"Use a key","vars":[{"name":"AGENT_KEY"}]}]"#;

/// How often a file is looked for.
const INTERVAL: Duration = Duration::from_millis(10);

fn main() {
    let note = |text: &str| {
        let heard = File::options().create(true).append(true).open("heard");
        heard.unwrap().write_all(format!("{text}\n").as_bytes()).unwrap();
    };
    note("START");
    let (sender, incoming) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.unwrap();
            note(&line);
            sender.send(line).unwrap();
        }
        note("EOF");
    });
    let agent = Agent {
        incoming,
        session: "session-1".to_owned(),
        asked: 0,
        lingers: false,
        is_deaf: false,
        is_logged_in: false,
        is_cancelled: false,
        late: Vec::new(),
    };
    agent.run();
}

struct Agent {
    incoming: Receiver<String>,
    session: String,
    asked: u32,
    lingers: bool,
    is_deaf: bool,
    is_logged_in: bool,
    is_cancelled: bool,
    late: Vec<String>,
}

/// Whether it was started with this argument.
fn has_argument(word: &str) -> bool {
    std::env::args().any(|argument| argument == word)
}

impl Agent {
    fn run(mut self) {
        loop {
            let Some(message) = self.next_message() else { continue };
            let id = id(&message);
            match text(&message, "method").as_deref() {
                Some(method) if has_argument(method) => {}
                Some("initialize") => {
                    let takes = if has_argument("text-only") {
                        "{}"
                    } else {
                        r#"{"image":true,"embeddedContext":true}"#
                    };
                    let able = format!(r#"{{"loadSession":true,"promptCapabilities":{takes}}}"#);
                    let logins = if has_argument("login") { LOGINS } else { "[]" };
                    answer(
                        &id,
                        &format!(r#"{{"protocolVersion":1,"agentCapabilities":{able},"authMethods":{logins}}}"#),
                    );
                }
                Some("authenticate") if std::env::var_os("AGENT_KEY").is_some() => {
                    self.is_logged_in = true;
                    answer(&id, "{}");
                }
                Some("authenticate") => {
                    write(&format!(r#""id":{id},"error":{{"code":-32603,"message":"AGENT_KEY is not set"}}"#));
                }
                Some("session/new" | "session/load") if has_argument("login") && !self.is_logged_in => {
                    write(&format!(
                        r#""id":{id},"error":{{"code":-32000,"message":"Authentication required"}}"#
                    ));
                }
                Some("session/new") if has_argument("lost") => {
                    self.session = format!("session-{}", std::process::id());
                    answer(&id, &format!(r#"{{"sessionId":{}}}"#, quoted(&self.session)));
                }
                Some("session/load") if has_argument("lost") => {
                    write(&format!(r#""id":{id},"error":{{"code":-32002,"message":"Resource not found"}}"#));
                }
                Some("session/new") => answer(&id, &format!(r#"{{"sessionId":{}}}"#, quoted(&self.session))),
                Some("session/load") if has_argument("forgets") => {
                    self.session = "session-2".to_owned();
                    answer(&id, &format!(r#"{{"sessionId":{}}}"#, quoted(&self.session)));
                }
                Some("session/load") => {
                    self.session = text(&message, "sessionId").unwrap();
                    answer(&id, "{}");
                }
                Some("session/prompt") => self.prompt(&id, &message),
                _ => {}
            }
        }
    }

    fn prompt(&mut self, id: &str, message: &str) {
        let (_, prompt) = message.split_once(r#""prompt":["#).unwrap();
        self.is_cancelled = false;
        for line in text(prompt, "text").unwrap().lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            self.step(word, rest);
            if self.is_cancelled {
                break;
            }
        }
        let reason = if self.is_cancelled { "cancelled" } else { "end_turn" };
        answer(id, &format!(r#"{{"stopReason":"{reason}"}}"#));
        for text in std::mem::take(&mut self.late) {
            self.say(&text);
        }
    }

    fn step(&mut self, word: &str, rest: &str) {
        match word {
            "say" => self.say(rest),
            "chunk" => self.chunk(rest),
            "late" => self.late.push(rest.to_owned()),
            "ask" => self.ask(&["allow_once", "allow_always", "reject_once"]),
            "ask-odd" => self.ask(&["allow_always", "allow_always"]),
            "form" => self.form(),
            "ask-back" => self.ask_back(rest),
            "silent" => sleep(Duration::from_secs_f64(rest.parse().unwrap())),
            "wait" => wait_for_file(rest),
            "hang" => {
                while !self.is_cancelled {
                    self.next_message();
                }
            }
            "deaf" => {
                self.is_deaf = true;
                ignore_signals();
            }
            "garbage" => put("no message\n{\"half\": "),
            "exit" => exit(rest.parse().unwrap()),
            "linger" => self.lingers = true,
            "orphan" => drop(Command::new("sleep").arg("1000").spawn().unwrap()),
            _ => {}
        }
    }

    /// The next message; a cancellation is noted and not given.
    fn next_message(&mut self) -> Option<String> {
        let Ok(message) = self.incoming.recv() else { self.leave() };
        if text(&message, "method").as_deref() == Some("session/cancel") {
            self.is_cancelled = !self.is_deaf;
            return None;
        }
        Some(message)
    }

    fn leave(&self) -> ! {
        while self.lingers || self.is_deaf {
            sleep(Duration::from_secs(3600));
        }
        exit(0)
    }

    fn say(&self, text: &str) {
        self.chunk(&quoted(text));
    }

    fn chunk(&self, text: &str) {
        let session = quoted(&self.session);
        let content = format!(r#"{{"type":"text","text":{text}}}"#);
        let update = format!(r#"{{"sessionUpdate":"agent_message_chunk","content":{content}}}"#);
        write(&format!(
            r#""method":"session/update","params":{{"sessionId":{session},"update":{update}}}"#
        ));
    }

    fn request_permission(&self, id: &str, call: &str, options: &str) {
        let session = quoted(&self.session);
        write(&format!(
            r#""id":"{id}","method":"session/request_permission","params":{{"sessionId":{session},"toolCall":{call},"options":[{options}]}}"#
        ));
    }

    fn ask(&mut self, kinds: &[&str]) {
        self.asked += 1;
        let ask = format!("ask-{}", self.asked);
        let options = kinds.iter().map(|kind| {
            let option = kind.replace('_', "-");
            format!(r#"{{"optionId":"{option}","name":"{kind}","kind":"{kind}"}}"#)
        });
        let options: Vec<_> = options.collect();
        let title = format!("rm -rf {}", std::env::var("SECRET_KEY").as_deref().unwrap_or("/"));
        let call = format!(
            r#"{{"toolCallId":"call-{}","title":{},"kind":"execute","rawInput":{{"command":"rm"}}}}"#,
            self.asked,
            quoted(&title)
        );
        self.request_permission(&ask, &call, &options.join(","));
        loop {
            let message = self.next_message();
            let Some(message) = message.filter(|message| id(message) == format!("\"{ask}\"")) else {
                continue;
            };
            let chosen = text(&message, "optionId");
            let told = chosen.or_else(|| {
                let (_, outcome) = message.split_once(r#""outcome":{"#)?;
                text(outcome, "outcome")
            });
            return self.say(&format!("told {}. ", told.unwrap()));
        }
    }

    fn form(&mut self) {
        let session = quoted(&self.session);
        let color = r#"{"type":"string","title":"Color","description":"Which color?","enum":["Red","Blue"]}"#;
        let schema = format!(
            r#"{{"type":"object","required":["color"],"properties":{{"color":{color},"count":{{"type":"integer"}}}}}}"#
        );
        write(&format!(
            r#""id":"form","method":"elicitation/create","params":{{"sessionId":{session},"mode":"form","message":"Choose","requestedSchema":{schema}}}"#
        ));
        loop {
            let message = self.next_message();
            if let Some(message) = message.filter(|message| id(message) == "\"form\"") {
                let (_, result) = message.split_once(r#""result":"#).unwrap();
                return self.say(&format!("told {}. ", result.strip_suffix('}').unwrap()));
            }
        }
    }

    fn ask_back(&mut self, file: &str) {
        let call = r#"{"toolCallId":"back","title":"never mind"}"#;
        let option = r#"{"optionId":"allow","name":"allow","kind":"allow_once"}"#;
        self.request_permission("back", call, option);
        wait_for_file(file);
        write(r#""method":"$/cancel_request","params":{"requestId":"back"}"#);
        let message = self.next_message().unwrap();
        let (_, code) = message.split_once(r#""code":"#).unwrap();
        let code: String = code.chars().take_while(|sign| *sign == '-' || sign.is_ascii_digit()).collect();
        self.say(&format!("refused with {code}. "));
    }
}

fn wait_for_file(path: &str) {
    while !Path::new(path).exists() {
        sleep(INTERVAL);
    }
}

fn ignore_signals() {
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }
    const IGNORE: usize = 1;
    // SIGHUP, SIGINT, SIGTERM.
    for number in [1, 2, 15] {
        // SAFETY: it is the C library's function, and to ignore a signal runs no code of ours.
        unsafe { signal(number, IGNORE) };
    }
}

fn put(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn write(members: &str) {
    let message = format!(r#"{{"jsonrpc":"2.0",{members}}}"#);
    if has_argument("noisy") {
        put(&format!("\x1b]0;{{\"title\":1}}\x07\x1b[?2004h\u{feff}proj main | {message} ok\x1b[0m"));
    } else {
        put(&message);
    }
}

fn answer(id: &str, result: &str) {
    write(&format!(r#""id":{id},"result":{result}"#));
}

/// A message's id as it stands there; the first member of that name is the message's own.
fn id(message: &str) -> String {
    let Some((_, rest)) = message.split_once(r#""id":"#) else {
        return String::new();
    };
    rest.split([',', '}']).next().unwrap().to_owned()
}

/// The first member of a name that is a text. Messages come without spaces between their parts.
fn text(message: &str, name: &str) -> Option<String> {
    let (_, rest) = message.split_once(&format!("\"{name}\":\""))?;
    let mut text = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => text.push(match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'u' => {
                    let digits: String = letters.by_ref().take(4).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                other => other,
            }),
            letter => text.push(letter),
        }
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
