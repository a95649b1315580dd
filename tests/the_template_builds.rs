//! The template for E2B is what it says: `template/check`, as far as it needs no root.

use crate::support;

use std::path::Path;
use std::process::Command;

use support::node;

#[test]
fn the_sdks_and_the_cli_of_the_platform_take_it() {
    let python = Command::new("python3").args(["-c", "import ensurepip"]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "there is no python3 with venv, and CI may not do without"
        );
        eprintln!("skipped: there is no python3 with venv, which template/check needs");
        return;
    }
    if !node::installed() {
        return;
    }
    let path = format!("{}:{}", node::programs().display(), std::env::var("PATH").unwrap());
    let checked = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("template/check"))
        .env("PATH", path)
        .output()
        .unwrap();
    let (told, complaints) = (
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr),
    );
    assert!(
        checked.status.success(),
        "template/check: {}\n{told}{complaints}",
        checked.status
    );
    print!("{told}");
}
