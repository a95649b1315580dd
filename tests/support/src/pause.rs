//! What a pause of a sandbox is made of: every process is stopped, and the server's wall clock is stepped.

use std::path::PathBuf;
use std::time::Duration;

use super::{Builder, Server, folder, procs};

/// By how much the clock is stepped, in seconds.
pub const AWAY: f64 = 3_600.0;

/// How soon a resume has to be noticed; and some time for a busy machine.
pub const SOON: Duration = Duration::from_secs(1);
pub const BUSY: Duration = Duration::from_secs(3);

/// The server's wall clock.
pub struct Clock(PathBuf);

impl Clock {
    pub fn new() -> Self {
        Self(folder("clock").join("step"))
    }

    pub fn of(&self, builder: Builder) -> Builder {
        builder.env("PROMPTD_TEST_CLOCK", self.0.display().to_string())
    }

    /// Sets it forward by so many seconds in all.
    pub fn step(&self, seconds: f64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

/// Everything that runs in the sandbox.
pub fn processes(server: &Server) -> Vec<i32> {
    let home = server.home();
    let mut all = vec![server.pid()];
    all.extend(procs::keepers(&home));
    all.extend(procs::marked(&home));
    all
}

/// Stops everything; answers what was stopped.
pub fn freeze(server: &Server) -> Vec<i32> {
    let all = processes(server);
    for pid in &all {
        procs::signal(*pid, "STOP");
    }
    all
}

pub fn thaw(all: &[i32]) {
    // The agents first, as the kernel gives nobody the preference.
    for pid in all.iter().rev() {
        procs::signal(*pid, "CONT");
    }
}

/// A script that says a line each tenth of a second, `lines` times.
pub fn talk(lines: u32) -> String {
    format!("i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; sleep 0.1; done")
}

pub fn said(lines: u32) -> String {
    (1..=lines).map(|line| format!("line {line}\n")).collect()
}

pub async fn epoch(server: &Server) -> String {
    let answer = server.request("GET", "/v1/sessions").send().await.unwrap();
    answer.headers()["promptd-epoch"].to_str().unwrap().to_owned()
}
