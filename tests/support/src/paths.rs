//! Where things are: the repository, the binary under test, folders for tests.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The repository's root.
pub fn repository() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors().nth(2).unwrap().to_owned()
    });
    &ROOT
}

/// The binary under test. Cargo builds it before a test program of its package runs.
pub fn promptd() -> &'static str {
    static BINARY: LazyLock<String> = LazyLock::new(|| {
        // Cargo names it where it can; else it lies beside the folder of test programs, `target/…/debug/deps`.
        let named = std::env::var_os("CARGO_BIN_EXE_promptd").map(PathBuf::from);
        let binary = named.unwrap_or_else(|| {
            let program = std::env::current_exe().unwrap();
            program.ancestors().nth(2).unwrap().join("promptd")
        });
        assert!(
            binary.is_file(),
            "{} is not there; `cargo build` makes it",
            binary.display()
        );
        binary.to_str().unwrap().to_owned()
    });
    &BINARY
}

/// A folder for one test, empty.
pub fn folder(name: &str) -> PathBuf {
    // High up in `target`, as a socket's path has 107 bytes at most.
    static PARENT: LazyLock<PathBuf> = LazyLock::new(|| {
        let program = std::env::current_exe().unwrap();
        let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
        let target = target.map_or_else(|| repository().join("target"), Path::to_owned);
        // gemini does not trust a folder below one that others may write to, such as /tmp.
        if target.ancestors().any(is_writable_by_others) {
            return PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/promptd-tests");
        }
        target.join("tmp")
    });
    empty_folder(&PARENT, name)
}

fn is_writable_by_others(folder: &Path) -> bool {
    folder.metadata().is_ok_and(|metadata| metadata.mode() & 0o022 != 0)
}

/// The same outside of all repositories, for homes: nothing is linked into a repository.
pub fn outside(name: &str) -> PathBuf {
    empty_folder(&std::env::temp_dir(), &format!("promptd-{name}"))
}

fn empty_folder(parent: &Path, name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = parent.join(format!("{name}-{}-{count}", std::process::id()));
    let _old = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
