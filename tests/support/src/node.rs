//! What the tests have from npm: the real agent CLIs, a node of a known version, and clients of other systems.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::{repository, require_program};

/// How long a client may take in all; the real agents begin slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of what is pinned.
pub fn agents() -> PathBuf {
    repository().join("tests/agents")
}

/// The pinned programs: `node` and the agents.
pub fn programs() -> PathBuf {
    agents().join("node_modules/.bin")
}

/// Where node keeps what it compiled.
pub fn compile_cache() -> PathBuf {
    agents().join("node_modules/.compile-cache")
}

/// Installs them, once for all tests.
pub async fn install() {
    tokio::task::spawn_blocking(install_blocking).await.unwrap();
}

/// The same in a test without a runtime.
pub fn install_blocking() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        require_program("npm", "npm");
        let status = Command::new(agents().join("install")).status().unwrap();
        assert!(status.success(), "tests/agents/install: {status}");
    });
}

/// Installs what a folder's `package-lock.json` pins, which has to be done once in each test program.
pub fn install_packages(folder: &Path) {
    install_blocking();
    let script = "exec 9<package.json; flock 9; cmp -s package-lock.json node_modules/.installed || {
        npm ci --ignore-scripts --loglevel=error && cp package-lock.json node_modules/.installed; }";
    let mut command = Command::new("sh");
    let status = command.args(["-ec", script]).current_dir(folder).status().unwrap();
    assert!(status.success(), "npm ci in {}: {status}", folder.display());
}

/// The folder of clients that other systems' own libraries make.
fn clients() -> PathBuf {
    repository().join("tests/clients")
}

/// Installs what they need, once for all tests, and checks their types.
fn install_clients() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        install_packages(&clients());
        let mut command = Command::new(programs().join("node"));
        command.arg("node_modules/.bin/tsc").current_dir(clients());
        let checked = command.output().unwrap();
        let errors = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "the types of tests/clients: {errors}");
    });
}

/// Runs a client to its end; answers the JSON that it prints.
pub async fn client(script: &str, args: &[&str]) -> Value {
    tokio::task::spawn_blocking(install_clients).await.unwrap();
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(programs().join("node"));
    command.arg(clients().join(script)).args(args);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{script} ended with {} (124: not within its time): {errors}",
        output.status
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
