//! What the tests have from npm: the real agent CLIs, a node of a known version, and clients of other systems.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::PATIENCE;

/// The folder of what is pinned.
pub fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents")
}

/// The pinned programs: `node` and the agents.
pub fn programs() -> PathBuf {
    agents().join("node_modules/.bin")
}

/// Where node keeps what it compiled.
pub fn compile_cache() -> PathBuf {
    agents().join("node_modules/.compile-cache")
}

/// Installs them, once for all tests; false where that cannot be, which only a developer's machine may be.
pub fn installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        if Command::new("npm").arg("--version").output().is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no npm, and CI may not do without"
            );
            eprintln!("skipped: there is no npm, which installs node and the real CLIs; see tests/agents/install");
            return false;
        }
        let status = Command::new(agents().join("install")).status().unwrap();
        assert!(status.success(), "tests/agents/install: {status}");
        true
    })
}

/// The folder of clients that other systems' own libraries make.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Installs what they need, once for all tests, and checks their types; false where [`installed`] is.
pub fn clients_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        if !installed() {
            return false;
        }
        let script = "exec 9<package.json; flock 9; cmp -s package-lock.json node_modules/.installed || {
            npm ci --ignore-scripts --loglevel=error && cp package-lock.json node_modules/.installed; }
            node_modules/.bin/tsc";
        let mut command = Command::new("sh");
        command.args(["-ec", script]).current_dir(clients());
        let status = command.status().unwrap();
        assert!(status.success(), "tests/clients: {status}");
        true
    })
}

/// Runs a client to its end; answers the JSON that it prints. `None` where nothing can be installed.
pub async fn client(script: &str, args: &[&str]) -> Option<Value> {
    if !tokio::task::spawn_blocking(clients_installed).await.unwrap() {
        return None;
    }
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(programs().join("node"));
    command.arg(clients().join(script)).args(args);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
