//! The examples for E2B, with what they need installed, and the stand-in for the platform that they run against.

use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::{folder, node, procs, promptd, repository, require_program, wait_until};

/// What opens the sandbox that the SDK's debug mode takes for granted.
pub const TOKEN: &str = "of-the-debug-sandbox";

/// The languages that each example is written in.
#[derive(Clone, Copy)]
pub enum Language {
    TypeScript,
    Python,
}

/// Where the examples are.
pub fn examples() -> PathBuf {
    repository().join("examples/e2b")
}

impl Language {
    /// Installs what the examples need, once.
    pub fn install(self) {
        static TYPESCRIPT: OnceLock<()> = OnceLock::new();
        static PYTHON: OnceLock<()> = OnceLock::new();
        // The stand-in for the platform needs node in any case.
        node::install_blocking();
        match self {
            Self::TypeScript => TYPESCRIPT.get_or_init(|| node::install_packages(&examples().join("typescript"))),
            Self::Python => PYTHON.get_or_init(|| install_python(&examples().join("python"))),
        };
    }
}

/// Installs what a folder's `requirements.txt` names into its `.venv`, once.
pub fn install_python(folder: &Path) {
    require_program("python3", "python3 python3-venv");
    let able = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))";
    let able = Command::new("python3").args(["-c", able]).output().unwrap();
    assert!(
        able.status.success(),
        "python3 is older than 3.11 or has no venv; on Debian: apt-get install python3-venv"
    );
    let script = "exec 9<requirements.txt; flock 9; cmp -s requirements.txt .venv/.installed || {
        python3 -m venv --clear .venv &&
        .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt &&
        cp requirements.txt .venv/.installed; }";
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder);
    let status = command.status().unwrap();
    assert!(
        status.success(),
        "what {} needs was not installed: {status}",
        folder.display()
    );
}

/// The stand-in for the platform; dropping it ends it and its sandboxes.
pub struct Platform {
    child: Child,
    /// Sandboxes are folders in it, and examples run in it.
    pub folder: PathBuf,
}

impl Platform {
    pub async fn start(name: &str, language: Language) -> Self {
        tokio::task::spawn_blocking(move || language.install()).await.unwrap();
        let folder = folder(&format!("e2b-{name}"));
        let log = File::create(folder.join("platform.log")).unwrap();
        let aside = File::create(folder.join("platform.err")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(node::programs().join("node"));
        command
            .arg(examples().join("fake/platform.ts"))
            .arg(promptd())
            .arg(&folder);
        let (path, home) = (std::env::var("PATH").unwrap(), &folder);
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", home)
            .env("PROMPTD_TOKEN", TOKEN);
        let child = command.stdin(Stdio::null()).stdout(log).stderr(aside).spawn().unwrap();
        let platform = Self { child, folder };
        wait_until("a platform that is ready", || platform.log().contains('\n')).await;
        platform
    }

    /// What it was asked for, one line each.
    pub fn log(&self) -> String {
        read_to_string(self.folder.join("platform.log")).unwrap()
    }

    pub fn url(&self) -> String {
        let log = self.log();
        let url = log.lines().next().and_then(|line| line.strip_prefix("ready "));
        url.unwrap().to_owned()
    }

    /// Calls the platform's API.
    pub async fn post(&self, path: &str) {
        let client = client();
        let call = client.post(format!("{}{path}", self.url()));
        let answer = call.header("x-api-key", "e2b_00000000").send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    /// What somebody gets who knows a sandbox's id, and nothing else.
    pub async fn answers_strangers(&self, id: &str) -> u16 {
        let call = client().get(format!("{}/healthz", self.url()));
        let call = call.header("e2b-sandbox-id", id).header("e2b-sandbox-port", "8080");
        call.send().await.unwrap().status().as_u16()
    }

    /// How many sandboxes live, and how many lived at the same time.
    pub fn alive(&self) -> (usize, usize) {
        let (mut now, mut most) = (0, 0);
        for line in self.log().lines() {
            match line.split_once(' ') {
                Some(("create", _)) => now += 1,
                Some(("kill", _)) => now -= 1,
                _ => {}
            }
            most = most.max(now);
        }
        (now, most)
    }

    /// An example, with the environment that leads it here.
    pub fn example(&self, language: Language, name: &str) -> Command {
        let mut command = match language {
            Language::TypeScript => {
                let mut command = Command::new(node::programs().join("node"));
                command.arg(examples().join("typescript").join(format!("{name}.ts")));
                command
            }
            Language::Python => {
                let mut command = Command::new(examples().join("python/.venv/bin/python"));
                let file = format!("{}.py", name.replace('-', "_"));
                command.arg("-B").arg(examples().join("python").join(file));
                command
            }
        };
        let url = self.url();
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", &self.folder);
        command.envs([("E2B_API_URL", &*url), ("E2B_SANDBOX_URL", &*url)]);
        command.envs([("E2B_API_KEY", "e2b_00000000"), ("AGENT", "shell")]);
        command
    }
}

fn client() -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Drop for Platform {
    fn drop(&mut self) {
        procs::signal(self.child.id().try_into().unwrap(), "TERM");
        let _gone = self.child.wait();
        if std::thread::panicking() {
            let aside = read_to_string(self.folder.join("platform.err")).unwrap_or_default();
            eprintln!("the platform's log:\n{aside}");
        } else {
            let _gone = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// An example that runs; dropping it ends it.
pub struct Running {
    pub child: Child,
    folder: PathBuf,
}

impl Running {
    pub fn start(mut program: Command, folder: &Path) -> Self {
        let stdout = File::create(folder.join("example.out")).unwrap();
        let stderr = File::create(folder.join("example.err")).unwrap();
        program
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        Self {
            child: program.spawn().unwrap(),
            folder: folder.to_owned(),
        }
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Its exit code, when it has ended.
    pub async fn code(&mut self) -> Option<i32> {
        wait_until("the end of an example", || self.ended()).await;
        self.child.wait().unwrap().code()
    }

    pub fn stdout(&self) -> String {
        read_to_string(self.folder.join("example.out")).unwrap()
    }

    pub fn stderr(&self) -> String {
        read_to_string(self.folder.join("example.err")).unwrap()
    }

    pub fn all(&self) -> String {
        format!("{}{}", self.stdout(), self.stderr())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
