//! A peer, where one is installed: `SANDBOX_AGENT` is the path of rivet-dev's `sandbox-agent`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::client::wait_healthy;
use super::table::{Figure, Table, percentile};

const WHAT: &str = "peer: sandbox-agent, start to healthy, p50";

/// The same start as ours.
pub(crate) fn compare(table: &mut Table) {
    let Some(program) = std::env::var_os("SANDBOX_AGENT") else {
        return table.note(WHAT, "not installed");
    };
    let mut times: Vec<Duration> = (0..10)
        .map(|number: u32| {
            let port = (24680 + number).to_string();
            let begun = Instant::now();
            let mut child = Command::new(&program)
                .args(["server", "--no-token", "--host", "127.0.0.1", "--port", &port])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            wait_healthy(&format!("127.0.0.1:{port}"), "/v1/health");
            let time = begun.elapsed();
            child.kill().unwrap();
            child.wait().unwrap();
            time
        })
        .collect();
    table.alone(WHAT, Figure::Time(percentile(&mut times, 50)), "");
}
