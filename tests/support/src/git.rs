//! A git server on loopback: a few lines of HTTP around git's own `http-backend`, with a token if it is to have one.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;

/// A server of all repositories in a folder, as long as the test lives.
pub struct GitServer {
    pub folder: PathBuf,
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    token: Option<String>,
    /// Requests wait while this is set.
    held: AtomicBool,
    /// Method and path of every request that was let in, and who asked.
    seen: Mutex<Vec<String>>,
}

impl GitServer {
    pub fn start(folder: &Path, token: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            token: token.map(str::to_owned),
            held: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self {
            folder: folder.to_owned(),
            address,
            shared,
        }
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Lets every request wait, or go on.
    pub fn hold(&self, held: bool) {
        self.shared.held.store(held, Ordering::SeqCst);
    }

    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Makes a repository with one commit of these files; answers the commit.
    pub fn make(&self, name: &str, files: &[(&str, &str)]) -> String {
        let work = self.folder.join(format!("{name}.work"));
        std::fs::create_dir_all(&work).unwrap();
        git(&work, &["init", "--quiet", "--initial-branch=main"]);
        let commit = commit(&work, files, "first");
        let bare = self.folder.join(name);
        git(&work, &["clone", "--quiet", "--bare", ".", &bare.display().to_string()]);
        git(&work, &["remote", "add", "origin", &bare.display().to_string()]);
        commit
    }

    /// Adds a commit on top of a branch; answers it.
    pub fn push(&self, name: &str, branch: &str, files: &[(&str, &str)]) -> String {
        let work = self.folder.join(format!("{name}.work"));
        git(&work, &["checkout", "--quiet", "-B", branch]);
        let commit = commit(&work, files, "more");
        git(
            &work,
            &[
                "push",
                "--quiet",
                "--tags",
                "origin",
                &format!("HEAD:refs/heads/{branch}"),
            ],
        );
        commit
    }

    /// The folder in which the repository's commits are made.
    pub fn work(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.work"))
    }
}

/// Writes files and commits them.
fn commit(work: &Path, files: &[(&str, &str)], message: &str) -> String {
    for (name, content) in files {
        let path = work.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    git(work, &["add", "--all"]);
    git(work, &["commit", "--quiet", "--message", message]);
    git(work, &["rev-parse", "HEAD"])
}

/// Runs git in a folder; answers what it says.
pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-C"])
        .arg(folder)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let Some(request) = Request::read(&stream) else { return };
        if let Some(token) = &self.token {
            let expected = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
            if request.headers.get("authorization") != Some(&format!("Basic {expected}")) {
                let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _gone = (&stream).write_all(head.as_bytes());
                return;
            }
        }
        self.seen
            .lock()
            .unwrap()
            .push(format!("{} {}", request.method, request.path));
        while self.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let answer = self.run_backend(&request);
        let _gone = (&stream).write_all(&answer);
    }

    fn run_backend(&self, request: &Request) -> Vec<u8> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.folder)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", &request.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("CONTENT_TYPE", header("content-type"))
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("GIT_PROTOCOL", header("git-protocol"))
            .env("CONTENT_LENGTH", request.body.len().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let body = request.body.clone();
        let feeder = std::thread::spawn(move || stdin.write_all(&body).is_ok());
        let mut said = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
        let _fed = feeder.join();
        child.wait().unwrap();
        let split = memchr::memmem::find(&said, b"\r\n\r\n").unwrap();
        let (head, body) = (String::from_utf8_lossy(&said[..split]).into_owned(), &said[split + 4..]);
        let status = head
            .lines()
            .find_map(|line| line.strip_prefix("Status: "))
            .unwrap_or("200 OK");
        let headers: Vec<&str> = head.lines().filter(|line| !line.starts_with("Status: ")).collect();
        let length = body.len();
        let mut answer = format!(
            "HTTP/1.1 {status}\r\n{}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
            headers.join("\r\n")
        )
        .into_bytes();
        answer.extend_from_slice(body);
        answer
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers
            .get("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self {
            method,
            path,
            headers,
            body,
        })
    }
}
