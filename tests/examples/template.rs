//! The template for E2B is what it says: `template/check`, as far as it needs no root.

use std::path::Path;
use std::process::Command;

use support::node;

#[test]
fn platform_sdks_and_cli_accept_the_template() {
    let able = Command::new("python3").args(["-c", "import ensurepip"]).output();
    assert!(
        able.is_ok_and(|output| output.status.success()),
        "there is no python3 with venv; on Debian: apt-get install python3-venv"
    );
    node::install_blocking();
    let path = format!("{}:{}", node::programs().display(), std::env::var("PATH").unwrap());
    let checked = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("template/check"))
        .env("PATH", path)
        .output()
        .unwrap();
    let (printed, complaints) = (
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr),
    );
    assert!(
        checked.status.success(),
        "template/check: {}\n{printed}{complaints}",
        checked.status
    );
    print!("{printed}");
}
