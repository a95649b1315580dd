//! What each file has to be like.

use crate::source::crates;

/// A file that cannot be read in one sitting is two files.
const MOST_LINES: usize = 450;

/// Crates whose results depend on their arguments alone.
const PURE: [&str; 3] = ["model", "mask", "agents"];

/// A clock, input and output, randomness, the environment.
const IMPURE: [&str; 13] = [
    "std::fs",
    "std::net",
    "env::var",
    "env::current",
    "std::process",
    "std::thread",
    "std::io",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "tokio::",
    "nix::",
    "getrandom",
];

/// Collects what breaks a rule, so that one run shows everything.
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_have_a_header() {
    let mut wrong = Vec::new();
    for file in crates().iter().flat_map(|one| one.files.values()) {
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!(
                "{}: {lines} lines, more than {MOST_LINES}",
                file.path.display()
            ));
        }
        if !file.text.starts_with("//!") {
            wrong.push(format!("{}: does not begin with `//!`", file.path.display()));
        }
    }
    assert_none(&wrong);
}

#[test]
fn unsafe_code_is_only_in_sys() {
    let mut wrong = Vec::new();
    for one in crates().iter().filter(|one| one.name != "sys") {
        for file in one.files.values() {
            let mut words = file
                .code
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if words.any(|word| word == "unsafe") {
                wrong.push(file.path.display().to_string());
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn pure_crates_have_no_clock_and_no_io() {
    let mut wrong = Vec::new();
    for one in crates().iter().filter(|one| PURE.contains(&one.name.as_str())) {
        for file in one.files.values() {
            let used = IMPURE.iter().filter(|word| file.shipped.contains(*word));
            wrong.extend(used.map(|word| format!("{}: {word}", file.path.display())));
        }
    }
    assert_none(&wrong);
}

#[test]
fn code_outside_tests_cannot_panic() {
    const PANICS: [&str; 6] = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "todo!(",
        "unimplemented!(",
        "unreachable!(",
    ];
    let mut wrong = Vec::new();
    for file in crates().iter().flat_map(|one| one.files.values()) {
        for (number, line) in file.shipped.lines().enumerate() {
            let used = PANICS.iter().filter(|word| line.contains(*word));
            wrong.extend(used.map(|word| format!("{}:{}: {word}", file.path.display(), number + 1)));
        }
    }
    assert_none(&wrong);
}

#[test]
fn files_of_ours_are_opened_by_sys() {
    // Agents can put a FIFO in the place of a file, and opening that would block for ever.
    const OPENS: [&str; 6] = [
        "fs::read(",
        "fs::read_to_string(",
        "File::open(",
        "File::create(",
        "fs::write(",
        "Flock::lock(",
    ];
    const WHERE: [&str; 5] = [
        "src/runtime/",
        "crates/journal/",
        "crates/follow/",
        "crates/sinks/",
        "crates/keeper/",
    ];
    // `/dev/null`, and the folder of a repository.
    const OTHERS: [&str; 2] = ["crates/keeper/src/spec.rs", "crates/keeper/src/setup/repo.rs"];
    let mut wrong = Vec::new();
    for file in crates().iter().flat_map(|one| one.files.values()) {
        let path = file.path.to_str().unwrap();
        if !WHERE.iter().any(|folder| path.starts_with(folder)) || OTHERS.contains(&path) {
            continue;
        }
        // Not as the end of a longer name.
        let is_used = |word: &str| {
            let mut before = file.shipped.match_indices(word).map(|(at, _)| &file.shipped[..at]);
            before.any(|before| !before.ends_with(char::is_alphanumeric))
        };
        let used = OPENS.iter().filter(|word| is_used(word));
        wrong.extend(used.map(|word| format!("{path}: {word} instead of `sys::open_own` and its siblings")));
    }
    assert_none(&wrong);
}

#[test]
fn server_starts_processes_as_waited_children() {
    // As process 1 it reaps what nobody waits for, and has to know who waits for what.
    let mut wrong = Vec::new();
    for file in crates().iter().flat_map(|one| one.files.values()) {
        let path = file.path.to_str().unwrap();
        if (path.starts_with("src/") || path.starts_with("crates/artifacts/")) && file.shipped.contains(".spawn()") {
            wrong.push(format!("{path}: .spawn() instead of `sys::WaitedChild::spawn`"));
        }
    }
    assert_none(&wrong);
}
