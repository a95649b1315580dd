//! What each crate may depend on, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::source::root;

/// Crates that run without the async runtime, and what would bring it.
const WITHOUT_TOKIO: [&str; 6] = ["model", "mask", "agents", "artifacts", "journal", "keeper"];
const BRINGS_TOKIO: [&str; 5] = ["tokio", "axum", "reqwest", "hyper", "promptd-follow"];

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

/// What cargo knows, from what is on this machine.
fn metadata(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(args)
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The members' dependencies that are no tests' own, by the members' names.
fn members() -> BTreeMap<String, Vec<Value>> {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().unwrap().iter();
    let members = packages.map(|package| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let ours = dependencies.filter(|dependency| dependency["kind"].is_null());
        (short(&package["name"]), ours.cloned().collect())
    });
    members.collect()
}

fn short(name: &Value) -> String {
    let name = name.as_str().unwrap();
    name.strip_prefix("promptd-").unwrap_or(name).to_owned()
}

/// `| crate | owns | may use |` under `## Crates`: each crate, and what it may use.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, section) = page.split_once("\n## Crates\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let in_backticks = |cell: &str| {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect::<Vec<_>>()
    };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 3, "{line}");
        (
            in_backticks(cells[0]).remove(0),
            in_backticks(cells[2]).into_iter().collect(),
        )
    });
    rows.collect()
}

#[test]
fn table_of_crates_equals_the_manifests() {
    let mut members = members();
    members.remove("test-support");
    let names: BTreeSet<String> = members.keys().cloned().collect();
    let real: BTreeMap<_, BTreeSet<_>> = members
        .into_iter()
        .map(|(name, dependencies)| {
            let used = dependencies.iter().filter(|one| one["path"].is_string());
            (name, used.map(|one| short(&one["name"])).collect())
        })
        .collect();
    let documented = documented();
    for name in names.iter().chain(documented.keys()) {
        assert_eq!(
            documented.get(name),
            real.get(name),
            "`{name}` in ARCHITECTURE.md (left) and in its Cargo.toml (right)"
        );
    }
}

#[test]
fn lower_crates_do_not_use_tokio() {
    let members = members();
    for name in WITHOUT_TOKIO {
        for dependency in &members[name] {
            let (used, features) = (&dependency["name"], &dependency["features"]);
            let brings = BRINGS_TOKIO.iter().any(|one| used == one);
            let asks = features.as_array().unwrap().iter().any(|feature| feature == "tokio");
            assert!(!brings && !asks, "{name} uses {used} with {features}");
        }
    }
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[workspace.dependencies]").unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let mut lines = dependencies.lines().filter(|line| line.contains(" = {")).peekable();
    assert!(lines.peek().is_some());
    for line in lines {
        let is_ours = line.contains("path = ");
        assert!(is_ours || line.contains("default-features = false"), "{line}");
        assert!(line.contains("} # "), "no reason: {line}");
    }
    // The members take them from there.
    for (name, dependencies) in members() {
        let folder = if name == "promptd" {
            root().to_owned()
        } else {
            root().join("crates").join(&name)
        };
        let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) else {
            continue;
        };
        for dependency in dependencies {
            let known = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap();
            let taken = [
                format!("\n{known}.workspace = true"),
                format!("\n{known} = {{ workspace = true"),
            ];
            assert!(
                taken.iter().any(|line| manifest.contains(line)),
                "{name} does not take {known} from the workspace"
            );
        }
    }
}

#[test]
fn every_licence_allows_shipping() {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = metadata(&["--filter-platform", &host]);
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
