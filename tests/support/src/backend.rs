//! The example backend, run by the pinned node, with a PostgreSQL of its own.

use std::fs::File;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use nix::unistd::{Uid, User, geteuid};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{PATIENCE, WebSocket, node, procs, repository, wait_until};

/// The token that a sandbox has.
pub const SANDBOX: &str = "of-the-sandbox";
/// The token that a reader has.
pub const READER: &str = "of-the-reader";

/// A private PostgreSQL, on a Unix socket; dropping it ends it.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    /// Root may not run it: as whom it runs instead.
    user: Option<User>,
    child: Option<Child>,
}

impl Postgres {
    /// Makes and starts a cluster.
    pub async fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let programs = programs().expect("PostgreSQL is not installed; on Debian: apt-get install postgresql");
        // Not in the test's folder: another user may not get there, and a socket's path is at most 107 bytes.
        let name = format!(
            "promptd-postgres-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        let _old = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let mut user = None;
        if geteuid() == Uid::from_raw(0) {
            let other = ["postgres", "nobody"]
                .iter()
                .find_map(|name| User::from_name(name).unwrap());
            let other = other.expect("there is a user nobody");
            chown(&folder, Some(other.uid.as_raw()), Some(other.gid.as_raw())).unwrap();
            user = Some(other);
        }
        let mut postgres = Self {
            programs,
            folder,
            user,
            child: None,
        };
        let made = postgres
            .command("initdb")
            .args([
                "--auth=trust",
                "--username=promptd",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg(postgres.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {made:?}");
        postgres.start_again().await;
        postgres
    }

    pub async fn start_again(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.folder);
        // Processes are killed here, not the machine.
        command.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        wait_until("a PostgreSQL that answers", || self.psql("select 1").status.success()).await;
    }

    /// Ends it at once, in the middle of whatever it does; it recovers at the next start.
    pub async fn crash(&mut self) {
        let mut child = self.child.take().unwrap();
        procs::signal(child.id().try_into().unwrap(), "QUIT");
        wait_until("PostgreSQL's end", || child.try_wait().unwrap().is_some()).await;
    }

    /// What a query answers, as lines.
    pub fn query(&self, sql: &str) -> Vec<String> {
        let answer = self.psql(sql);
        assert!(answer.status.success(), "{sql}: {answer:?}");
        let text = String::from_utf8(answer.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn psql(&self, sql: &str) -> std::process::Output {
        let mut command = Command::new(self.programs.join("psql"));
        command.envs(self.env()).args(["-AtqX", "-c", sql]).output().unwrap()
    }

    fn env(&self) -> [(&'static str, String); 3] {
        let folder = self.folder.display().to_string();
        [
            ("PGHOST", folder),
            ("PGUSER", "promptd".to_owned()),
            ("PGDATABASE", "postgres".to_owned()),
        ]
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// One of its programs, as the user that it has to be, and gone with the test whatever happens.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(user) = &self.user {
            let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
            command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups"]);
        }
        command.args(["--pdeathsig", "KILL"]).arg(self.programs.join(program));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            procs::signal(child.id().try_into().unwrap(), "QUIT");
            let _gone = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            eprintln!("PostgreSQL's log:\n{log}");
        }
        let _gone = std::fs::remove_dir_all(&self.folder);
    }
}

/// The newest PostgreSQL's programs, where Debian puts them.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = versions
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("bin/initdb").exists());
    Some(installed.max_by_key(version)?.join("bin"))
}

/// The running example; dropping it ends it.
pub struct Backend {
    child: Child,
    port: u16,
    env: Vec<(&'static str, String)>,
    log: PathBuf,
    client: reqwest::Client,
}

impl Backend {
    /// Starts it, in front of a PostgreSQL, with its log in a folder.
    pub async fn start(postgres: &Postgres, folder: &Path, env: &[(&'static str, &str)]) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        let mut all: Vec<_> = postgres.env().into();
        all.extend([
            ("SANDBOX_TOKEN", SANDBOX.to_owned()),
            ("READER_TOKEN", READER.to_owned()),
        ]);
        all.push(("PORT", port.to_string()));
        all.extend(env.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let log = folder.join("backend.log");
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let backend = Self {
            child: spawn(&all, &log),
            port,
            env: all,
            log,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        backend.healthy().await;
        backend
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn start_again(&mut self) {
        self.child = spawn(&self.env, &self.log);
        self.healthy().await;
    }

    async fn healthy(&self) {
        wait_until("a backend that says that it is ready", || {
            self.log().ends_with("ready\n")
        })
        .await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn request(&self, method: &str, path: &str, token: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method.parse().unwrap(), self.url(path));
        request.bearer_auth(token).timeout(PATIENCE)
    }

    /// Brings JSON as a sandbox does; answers the status.
    pub async fn bring(&self, path: &str, body: &Value) -> u16 {
        let answer = self.request("POST", path, SANDBOX).json(body).send().await.unwrap();
        answer.status().as_u16()
    }

    pub async fn read(&self, path: &str) -> Value {
        let answer = self.request("GET", path, READER).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    pub fn live(&self, session: &str) -> Live {
        Live {
            url: format!("ws://127.0.0.1:{}/sessions/{session}/live", self.port),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the backend's log:\n{}", self.log());
        }
    }
}

fn spawn(env: &[(&'static str, String)], log: &Path) -> Child {
    // Ends with "ready" when it is this one that is.
    let log = File::create(log).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(node::programs().join("node"));
    command.arg("server.ts").current_dir(folder()).envs(env.iter().cloned());
    let command = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap());
    command.stderr(log).spawn().unwrap()
}

/// Where a client of `/live` connects to.
pub struct Live {
    url: String,
}

impl Live {
    /// Connects; `None` when there is no backend just now.
    pub async fn after(&self, seq: u64) -> Option<WebSocket> {
        self.behind(&seq.to_string()).await
    }

    /// The same behind a line of a record, `SEQ:INDEX`.
    pub async fn behind(&self, cursor: &str) -> Option<WebSocket> {
        let mut request = format!("{}?after={cursor}", self.url).into_client_request().unwrap();
        let token = format!("Bearer {READER}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        Some(tokio_tungstenite::connect_async(request).await.ok()?.0)
    }
}

/// The next record, or the code with which the socket was closed (`None`: it just went).
pub async fn next(socket: &mut WebSocket) -> Result<Value, Option<CloseCode>> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await;
        match message.expect("silence for too long") {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

/// The example's folder.
pub fn folder() -> PathBuf {
    repository().join("examples/backend")
}

/// Installs what the example needs, once.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| node::install_packages(&folder()));
}
