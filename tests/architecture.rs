//! The house rules that the compiler does not hold: arrows between modules, purity, sizes, headers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a helper of tests fails like a test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which module may use which. Arrows go down only; `ARCHITECTURE.md` draws them.
const ARROWS: [(&str, &[&str]); 12] = [
    (
        "cli",
        &["api", "runtime", "agents", "keeper", "journal", "mask", "sys", "model"],
    ),
    (
        "api",
        &[
            "runtime",
            "artifacts",
            "sinks",
            "updates",
            "agents",
            "journal",
            "mask",
            "sys",
            "model",
        ],
    ),
    (
        "runtime",
        &[
            "artifacts",
            "sinks",
            "updates",
            "agents",
            "keeper",
            "journal",
            "mask",
            "sys",
            "model",
        ],
    ),
    ("sinks", &["updates", "journal", "mask", "sys", "model"]),
    ("updates", &["agents", "journal", "model"]),
    ("agents", &["model"]),
    ("keeper", &["journal", "sys", "model"]),
    ("journal", &["mask", "sys", "model"]),
    ("artifacts", &[]),
    ("mask", &[]),
    ("sys", &[]),
    ("model", &[]),
];

/// No clock, no I/O, no randomness, no environment: what such code says is the same wherever it is said.
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

/// A file that cannot be read in one sitting is two files.
const MOST_LINES: usize = 450;

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
    found
}

fn module(path: &Path) -> String {
    let inside = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The code without its unit tests and comments.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test(path: &Path) -> bool {
    path.file_stem()
        .is_some_and(|stem| stem.to_str().unwrap().ends_with("tests"))
}

#[test]
fn arrows_between_modules_go_down_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let from = module(&path);
        if from == "main" || from == "lib" {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(name, _)| *name == from)
            .unwrap_or_else(|| panic!("{from} is in no table"));
        for (used, _) in code(&text).match_indices("crate::").map(|(at, word)| {
            let rest = &code(&text)[at + word.len()..];
            (
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect::<String>(),
                at,
            )
        }) {
            let known = ARROWS.iter().any(|(name, _)| *name == used);
            if known && used != from && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn model_agents_and_updates_have_no_clock_and_no_io() {
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        if matches!(module(&path).as_str(), "model" | "agents" | "updates") {
            for impure in IMPURE {
                assert!(!code(&text).contains(impure), "{} uses {impure}", path.display());
            }
        }
    }
}

const UNSAFE: [&str; 5] = [
    "unsafe {",
    "unsafe fn",
    "unsafe impl",
    "unsafe extern",
    "allow(unsafe_code",
];

#[test]
fn unsafe_code_stands_only_in_sys() {
    for (path, text) in sources() {
        if module(&path) != "sys" {
            let found = code(&text)
                .lines()
                .any(|line| UNSAFE.iter().any(|word| line.contains(word)));
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for (path, text) in sources() {
        assert!(
            text.lines().count() <= MOST_LINES,
            "{} is longer than {MOST_LINES} lines",
            path.display()
        );
        assert!(
            text.starts_with("//!"),
            "{} does not begin with what it is",
            path.display()
        );
    }
}

#[test]
fn nothing_outside_tests_can_panic_by_word() {
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        for word in [
            ".unwrap()",
            ".expect(",
            "panic!(",
            "todo!(",
            "unimplemented!(",
            "unreachable!(",
        ] {
            assert!(!code(&text).contains(word), "{} says {word}", path.display());
        }
    }
}

#[test]
fn no_promise_is_forgotten() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let all = std::fs::read_to_string(tests.join("promises.rs")).unwrap();
    let forgotten: Vec<_> = std::fs::read_dir(tests)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned()))
        .filter(|name| name != "promises" && !all.contains(&format!("mod {name};")))
        .collect();
    assert!(forgotten.is_empty(), "tests/promises.rs does not name {forgotten:?}");
}

#[test]
fn every_dependency_says_why() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[lints.rust]").next().unwrap();
    for line in dependencies
        .lines()
        .filter(|line| line.contains("version = \"") && line.contains('{'))
    {
        assert!(line.contains("default-features = false"), "{line}");
        assert!(line.contains("} # ") || line.contains("] } #"), "no reason: {line}");
    }
}

/// Licences that allow to ship a binary under Apache-2.0.
const LICENCES: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "0BSD",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
];

#[test]
fn every_dependency_may_be_shipped() {
    let metadata = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        // An expression is fine when one of its alternatives consists of fine licences only.
        let alternatives = licence.replace('/', " OR ").replace(['(', ')'], "");
        let fine = alternatives
            .split(" OR ")
            .any(|all| all.split(" AND ").all(|one| LICENCES.contains(&one.trim())));
        assert!(fine, "{} has the licence {licence}", package["name"]);
    }
}
