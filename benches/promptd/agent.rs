//! The agent: this program again, doing one thing.
//!
//! ```text
//! MARK now                        one line, the monotonic clock in nanoseconds as main begins
//! MARK clock COUNT MICROS         COUNT such lines, one every MICROS
//! MARK flood COUNT WIDTH [WORD]   COUNT numbered lines of WIDTH bytes, as fast as it can, each with a word behind
//! MARK sleep                      nothing, until it is ended
//! ```

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The word by which main knows that it is an agent.
pub(crate) const MARK: &str = "be-the-agent";

pub(crate) fn main(words: &[String]) {
    let begun = now();
    // Behind the command of the configuration the whole prompt is one argument.
    let words: Vec<&str> = words.iter().flat_map(|word| word.split(' ')).collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words[0] {
        "now" => println!("{begun}"),
        "clock" => clock(number(1), Duration::from_micros(number(2))),
        "flood" => flood(number(1), number(2).try_into().unwrap(), words.get(3).unwrap_or(&"")),
        "sleep" => std::thread::sleep(Duration::from_secs(3600)),
        other => panic!("no such agent: {other}"),
    }
}

/// The bare way: the agent on a pipe.
pub(crate) fn bare(prompt: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([MARK, prompt]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// `CLOCK_MONOTONIC`, which is one clock for all processes.
pub(crate) fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(time).as_nanos().try_into().unwrap()
}

fn clock(count: u64, pause: Duration) {
    let stdout = std::io::stdout();
    for _ in 0..count {
        std::thread::sleep(pause);
        // One write for the line; standard output has a buffer only up to a newline.
        let line = format!("{}\n", now());
        stdout.lock().write_all(line.as_bytes()).unwrap();
    }
}

fn flood(count: u64, width: usize, word: &str) {
    let filler = format!("{}{word}", "x".repeat(width.saturating_sub(11)));
    let mut stdout = std::io::stdout().lock();
    let mut block = Vec::new();
    for number in 0..count {
        writeln!(block, "{number:09} {filler}").unwrap();
        if block.len() > 64 << 10 || number == count - 1 {
            stdout.write_all(&block).unwrap();
            stdout.flush().unwrap();
            block.clear();
        }
    }
}
