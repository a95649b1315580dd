//! What the tests have from npm: the real agent CLIs, and a node of a known version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of what is pinned.
pub fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents")
}

/// The pinned programs: `node` and the agents.
pub fn programs() -> PathBuf {
    agents().join("node_modules/.bin")
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
