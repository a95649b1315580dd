//! A scripted model on loopback, in the streaming protocols of three vendors, for the real agent CLIs.
//!
//! What it answers is told by the newest prompt in the request, by its lines that start with `model:`: by the first one,
//! and by the next one behind each result of a tool
//!
//! | line | answer |
//! |---|---|
//! | (none, or no more) | the text `Answer N.`, where N counts the answers of this conversation: a resumed one goes on counting |
//! | `model: run COMMAND` | a call of the agent's shell tool |
//! | `model: say BYTES` | a text of that many bytes, in pieces of 1 KiB |
//! | `model: think TEXT` | that text as a thought, then `Answer N.`; `OpenAI`'s Responses and Gemini: the answer alone |
//! | `model: mcp SERVER TOOL JSON` | a call, with these arguments, of the tool whose name has both words |
//! | `model: hang` | the start of a text, then silence, with the connection open |
//! | `model: status CODE` | that HTTP status, with the vendor's error body |
//!
//! Every request is kept, see [`Model::requests`]. Nothing here knows promptd.

mod anthropic;
mod chat;
mod gemini;
mod openai;

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::Value;

/// The token counts that every complete answer reports, all different so that a mix-up shows.
pub const INPUT_TOKENS: u64 = 110;
pub const CACHED_TOKENS: u64 = 30;
pub const OUTPUT_TOKENS: u64 = 7;

/// What `$HOME/.gemini/settings.json` must say for gemini to accept the address of [`Model::gemini_env`]; no variable
/// can say it.
pub const GEMINI_SETTINGS: &str = r#"{"security":{"auth":{"selectedType":"gemini-api-key"}}}"#;

/// A running model server; it ends when this is dropped.
pub struct Model {
    address: SocketAddr,
    requests: Requests,
    server: tokio::task::JoinHandle<()>,
}

/// A request that the server got, in order of arrival.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Value,
}

type Requests = Arc<Mutex<Vec<Request>>>;

impl Model {
    /// Binds a free port on loopback and serves until the value is dropped.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let requests = Requests::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&requests));
        let server = tokio::spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("the model server runs until it is aborted");
        });
        Self {
            address,
            requests,
            server,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no holder of the lock panics").clone()
    }

    /// The requests that asked for an answer, whichever vendor's, without the rating of prompts by gemini.
    pub fn turns(&self) -> Vec<Request> {
        // Neither gemini's rating of a prompt nor opencode's title for a conversation is a turn.
        let asks = |r: &Request| {
            let is_side_matter = r.path.ends_with(":generateContent") || chat::is_side_matter(&r.path, &r.body);
            vendor(&r.path).is_some() && !is_side_matter
        };
        self.requests().into_iter().filter(asks).collect()
    }

    /// The environment that points claude here. One retry only: ten take three minutes.
    pub fn claude_env(&self) -> Vec<(String, String)> {
        owned([
            ("ANTHROPIC_BASE_URL", self.url().as_str()),
            ("ANTHROPIC_API_KEY", "test-key"),
            ("CLAUDE_CODE_MAX_RETRIES", "1"),
        ])
    }

    /// The environment for [`Self::codex_args`]. The folder must exist; codex refuses to start without a writable one.
    pub fn codex_env(&self, codex_home: &Path) -> Vec<(String, String)> {
        owned([
            ("CODEX_HOME", codex_home.to_str().expect("test paths are UTF-8")),
            ("MODEL_KEY", "test-key"),
        ])
    }

    /// The arguments that point codex here: it reads no environment variable for its address. No retries.
    pub fn codex_args(&self) -> Vec<String> {
        let provider = format!(
            "model_providers.scripted={{name=\"scripted\",base_url=\"{}/v1\",env_key=\"MODEL_KEY\",\
             wire_api=\"responses\",request_max_retries=0,stream_max_retries=0}}",
            self.url()
        );
        ["-c", "model_provider=scripted", "-c", provider.as_str()]
            .map(str::to_owned)
            .to_vec()
    }

    /// The environment that points gemini here, together with [`GEMINI_SETTINGS`].
    pub fn gemini_env(&self) -> Vec<(String, String)> {
        owned([
            ("GOOGLE_GEMINI_BASE_URL", self.url().as_str()),
            ("GEMINI_API_KEY", "test-key"),
        ])
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
}

/// One part of a conversation as every vendor sends it, oldest first.
///
/// Parts, not messages: agents join the prompts of turns that got no answer, and their own remarks, into one message.
enum Part {
    User(String),
    Assistant(String),
    ToolResult,
}

/// What to answer, before it is put into a vendor's words.
enum Reply {
    Text(Vec<String>),
    Think(String, Vec<String>),
    Run(String),
    /// A tool by the words that its name must have, and its arguments.
    Call([String; 2], Value),
    Hang,
    Status(StatusCode),
}

/// One vendor's protocol: how a conversation is read, how a reply is written.
struct Vendor {
    parts: fn(&Value) -> Vec<Part>,
    respond: fn(&Uri, &Value, &Reply) -> Response,
}

fn vendor(path: &str) -> Option<Vendor> {
    if path.ends_with("/v1/messages") {
        Some(anthropic::VENDOR)
    } else if path.ends_with("/chat/completions") {
        Some(chat::VENDOR)
    } else if path.ends_with("/v1/responses") {
        Some(openai::VENDOR)
    } else if path.ends_with(":streamGenerateContent") || path.ends_with(":generateContent") {
        Some(gemini::VENDOR)
    } else {
        None
    }
}

async fn answer(State(requests): State<Requests>, method: Method, uri: Uri, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let request = Request {
        method: method.to_string(),
        path: uri.path().to_owned(),
        body: body.clone(),
    };
    requests.lock().expect("no holder of the lock panics").push(request);
    match vendor(uri.path()) {
        Some(vendor) if method == Method::POST => {
            let mut response = (vendor.respond)(&uri, &body, &script(&(vendor.parts)(&body)));
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                // Come again at once: so that those who cannot be told not to are done soon.
                let headers = response.headers_mut();
                headers.insert("retry-after", header::HeaderValue::from_static("0"));
                headers.insert("retry-after-ms", header::HeaderValue::from_static("1"));
            }
            response
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Decides the reply from the conversation alone.
fn script(parts: &[Part]) -> Reply {
    let answered = |part: &&Part| matches!(part, Part::Assistant(text) if text.starts_with("Answer "));
    let number = parts.iter().filter(answered).count() + 1;
    let answer = || vec!["Answer ".to_owned(), number.to_string(), ".".to_owned()];
    match order(parts) {
        Some(("think", thought)) => Reply::Think(thought.to_owned(), answer()),
        Some(("mcp", call)) => called(call),
        Some(("run", command)) => Reply::Run(command.to_owned()),
        Some(("say", bytes)) => Reply::Text(filler(bytes.parse().expect("`model: say` takes a number of bytes"))),
        Some(("hang", _)) => Reply::Hang,
        Some(("status", code)) => Reply::Status(code.parse().expect("`model: status` takes an HTTP status")),
        _ => Reply::Text(answer()),
    }
}

/// What is to be done now, and with what: the newest prompt's next order, until it was answered.
fn order(parts: &[Part]) -> Option<(&str, &str)> {
    let (at, prompt) = parts.iter().enumerate().rev().find_map(|(at, part)| match part {
        Part::User(text) if !is_remark(text) => Some((at, text)),
        _ => None,
    })?;
    let since = &parts[at..];
    // Some agents keep an empty text beside a call.
    if since
        .iter()
        .any(|part| matches!(part, Part::Assistant(text) if !text.is_empty()))
    {
        return None;
    }
    let done = since.iter().filter(|part| matches!(part, Part::ToolResult)).count();
    let mut orders = prompt.lines().filter_map(|line| line.trim().strip_prefix("model: "));
    let order = orders.nth(done)?;
    Some(order.split_once(' ').unwrap_or((order, "")))
}

/// An agent's own words to the model are no prompt: elements such as `<system-reminder>…</system-reminder>`, and nothing
/// else. Copilot puts some before and behind the prompt, in texts of their own or in the prompt's.
fn is_remark(text: &str) -> bool {
    let mut rest = text.trim();
    while let Some(behind) = behind_element(rest) {
        rest = behind.trim_start();
    }
    rest.is_empty()
}

/// What follows the element that a text begins with.
fn behind_element(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once([' ', '>'])?;
    let (_, behind) = text.split_once(&format!("</{name}>"))?;
    Some(behind)
}

/// `SERVER TOOL JSON`.
fn called(call: &str) -> Reply {
    let mut words = call.splitn(3, ' ').map(str::to_owned);
    let [server, tool, arguments] = [(); 3].map(|()| words.next().unwrap_or_default());
    let arguments = serde_json::from_str(&arguments).expect("`model: mcp` takes a server, a tool and JSON");
    Reply::Call([server, tool], arguments)
}

/// The tool whose name has all the words, or says so: the agent then refuses the call, and a test sees it.
fn tool_named<'a>(names: impl Iterator<Item = &'a str>, words: &[String; 2]) -> String {
    let mut names = names.filter(|name| words.iter().all(|word| name.contains(word.as_str())));
    names
        .next()
        .map_or_else(|| format!("no_tool_of_{}_{}", words[0], words[1]), str::to_owned)
}

/// A text of exactly this many bytes, in pieces of 1 KiB. It counts, as gemini stops a model that repeats itself.
fn filler(bytes: usize) -> Vec<String> {
    let mut text = String::with_capacity(bytes + 20);
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        write!(text, "{number} ").expect("a String takes everything");
    }
    text.as_bytes()[..bytes]
        .chunks(1024)
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect()
}

/// Server-sent events; with `hang`, the stream stays open and silent after them.
fn events(lines: Vec<String>, hang: bool) -> Response {
    let sent = stream::iter(lines).map(Ok::<_, Infallible>);
    let body = if hang {
        Body::from_stream(sent.chain(stream::pending()))
    } else {
        Body::from_stream(sent)
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// An event with a name, as two of the vendors send them: the name is also the data's `type`.
fn named_event(data: &Value) -> String {
    let name = data.get("type").and_then(Value::as_str).unwrap_or("message");
    format!("event: {name}\ndata: {data}\n\n")
}

/// The list under a key; empty where there is none.
fn list<'a>(body: &'a Value, key: &str) -> &'a [Value] {
    body.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A string under a key; empty where there is none.
fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
