//! Compiles the programs that stand in for agents: they use the standard library only, so that no test needs more than
//! the Rust that built it.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=programs");
    for name in ["replay", "scripted_agent"] {
        let program = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join(name);
        let compiled = Command::new(env::var("RUSTC").expect("cargo sets it"))
            .args(["--edition", "2024", "-C", "debuginfo=0", "-o"])
            .arg(&program)
            .arg(format!("programs/{name}.rs"))
            .status()
            .expect("rustc runs");
        assert!(compiled.success(), "programs/{name}.rs: {compiled}");
        println!("cargo::rustc-env={}={}", name.to_uppercase(), program.display());
    }
}
