//! How a server of the tests is started.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Builder, PATIENCE, Server, folder, wait_until};

impl Builder {
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub fn envs(mut self, vars: Vec<(String, String)>) -> Self {
        self.env.extend(vars);
        self
    }

    /// The text of `config.toml`.
    pub fn config(mut self, text: &str) -> Self {
        self.config = text.to_owned();
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Another binary than the one under test, e.g. a copy of it.
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = path.to_owned();
        self
    }

    /// A home elsewhere than in the test's folder, e.g. on a small file system.
    pub fn home(mut self, path: &Path) -> Self {
        self.home = Some(path.to_owned());
        self
    }

    /// A command that runs the server, e.g. `setpriv …`.
    pub fn runner(mut self, words: &[&str]) -> Self {
        self.runner = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The IP address to listen on; the client still calls 127.0.0.1.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The IP address to listen on and to be called at, e.g. in a network of its own.
    pub fn at(mut self, ip: &str) -> Self {
        ip.clone_into(&mut self.at);
        self
    }

    /// Starts what must not start; answers the exit code and all it said.
    pub async fn refused(self) -> (Option<i32>, String) {
        let root = folder("refused");
        let mut child = spawn(&self, &root, "127.0.0.1:0");
        let status = wait_until("the refusal to start", || child.try_wait().unwrap()).await;
        let log = std::fs::read_to_string(root.join("server.log")).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        (status.code(), log)
    }

    pub async fn start(self) -> Server {
        let root = folder("server");
        let port = reserved_port();
        let address = format!("{}:{}", self.at, port.local_addr().unwrap().port());
        let child = spawn(&self, &root, &address);
        // A second server in one test finds it installed already.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut server = Server {
            builder: self,
            child,
            url: format!("http://{address}"),
            address,
            root,
            client,
            patience: PATIENCE,
            _port: port,
        };
        server.healthy().await;
        server
    }
}

/// A port that no other test gets: with `SO_REUSEADDR` on both sides, one socket may be bound while the other one listens.
fn reserved_port() -> tokio::net::TcpSocket {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    socket
}

pub(super) fn spawn(builder: &Builder, root: &Path, address: &str) -> Child {
    let home = builder.home.clone().unwrap_or_else(|| root.join("home"));
    std::fs::create_dir_all(&home).unwrap();
    if !builder.config.is_empty() {
        std::fs::write(home.join("config.toml"), &builder.config).unwrap();
    }
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(root.join("server.log"))
        .unwrap();
    let mut words = builder.runner.clone();
    words.push(builder.binary.display().to_string());
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .args(["serve", "--listen", &address.replace("127.0.0.1", &builder.host)])
        .arg("--home")
        .arg(&home);
    command
        .arg("--workspace")
        .arg(root.join("workspace"))
        .args(&builder.args);
    // Proxies and settings are the test's own, not those of whoever runs it.
    for (name, _) in std::env::vars().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
    // Root sees everything; anybody else has to be let look into the server.
    if !nix::unistd::geteuid().is_root() {
        command.env("PROMPTD_DUMPABLE", "1");
    }
    command
        .env("PROMPTD_DEFAULT_AGENT", "shell")
        .envs(builder.env.iter().cloned());
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn is_setting(variable: &str) -> bool {
    let others = ["BACKEND_API_URL", "INTERNAL_API_KEY", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    variable.starts_with("PROMPTD_") || variable.to_ascii_lowercase().ends_with("_proxy") || others.contains(&variable)
}
