//! The variables of agents: their order, their file, and their bounds.

use super::*;
use crate::runtime::cached_file::JsonFile;

fn names(pairs: &[(&str, &str)]) -> Names {
    let pairs = pairs.iter();
    pairs
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn home(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("promptd-variables-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn file(home: &Path) -> JsonFile<Variables> {
    JsonFile::new(path(home), parse)
}

fn set(file: &JsonFile<Variables>, pairs: &[(&str, &str)]) {
    let change = |variables: &mut Variables| {
        let old = variables.clone();
        variables.configured = names(pairs);
        variables.keep_replaced(&old);
    };
    file.update(change).unwrap();
}

#[test]
fn a_session_wins_over_configured_variables_and_those_over_the_platform() {
    let variables = Variables {
        configured: names(&[("A", "configured"), ("B", "configured")]),
        platform: names(&[("A", "platform"), ("B", "platform"), ("C", "platform")]),
        replaced: vec![("D".to_owned(), "replaced".to_owned())],
        ..Variables::default()
    };
    let session = [("A".to_owned(), "session".to_owned())];
    // As a process gets them: the last one counts.
    let env: Names = variables.all().into_iter().chain(session).collect();
    assert_eq!(env, names(&[("A", "session"), ("B", "configured"), ("C", "platform")]));
    assert_eq!(
        (variables.get("B"), variables.get("C")),
        (Some("configured"), Some("platform"))
    );
    assert_eq!(format!("{variables:?}"), r#"{"A", "B", "C"}"#);
}

#[test]
fn replaced_values_are_kept_apart_outlive_the_server_and_have_bounds() {
    let home = home("replaced");
    let variables = file(&home);
    for number in 0..=(MAX_REPLACED_VALUES + 1) {
        set(&variables, &[("KEY", &format!("value-{number}"))]);
    }
    set(&variables, &[("KEY", "value-2")]);
    set(&variables, &[]);
    let read = file(&home).get();
    assert_eq!(read.get("KEY"), None);
    let had: Vec<_> = read.replaced.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(had.len(), MAX_REPLACED_VALUES);
    assert_eq!((had.first(), had.last()), (Some(&"value-3"), Some(&"value-2")));
    let large = "x".repeat(MAX_ARGUMENT - 10);
    for name in ["A", "B", "C"] {
        set(&variables, &[(name, &large)]);
    }
    let read = file(&home).get();
    let size: usize = read.replaced.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(
        size <= MAX_REPLACED_BYTES && read.replaced.iter().any(|(name, _)| name == "B"),
        "{size}"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path(&home)).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_platform_that_has_forgotten_takes_no_variable_away() {
    let mut variables = Variables::default();
    let mut after = |new: &[(&str, &str)]| {
        variables.set_platform(names(new));
        variables.platform.clone()
    };
    let first = [("E2B_SANDBOX_ID", "one"), ("KEY", "1"), ("OTHER", "2")];
    assert_eq!(after(&first), names(&first));
    assert_eq!(after(&[]), names(&first), "after a cold boot");
    let kept = [("E2B_SANDBOX_ID", "two"), ("KEY", "1"), ("OTHER", "2")];
    assert_eq!(after(&[("E2B_SANDBOX_ID", "two")]), names(&kept), "but for its own");
    assert_eq!(after(&[("KEY", "3")]), names(&[("KEY", "3")]));
}

#[test]
fn a_wrong_file_leaves_the_old_values_in_force_and_is_not_quoted() {
    let home = home("wrong");
    let variables = file(&home);
    set(&variables, &[("A", "1")]);
    for text in [
        r#"{"configured":{"KEY":["s3cret"]}}"#,
        r#"{"s3cret":{}}"#,
        r#"{"configured":{"PATH":"s3cret"}}"#,
    ] {
        std::fs::write(path(&home), text).unwrap();
        assert_eq!(variables.get().get("A"), Some("1"));
        let error = parse(text).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn variables_that_no_process_can_be_started_with_are_refused() {
    let large = "x".repeat(MAX_ARGUMENT);
    for (name, value) in [
        ("", "x"),
        ("A=B", "x"),
        ("A", "\0"),
        ("PROMPTD_TOKEN", "x"),
        ("PATH", "/bin"),
        ("A", &large),
    ] {
        assert!(find_invalid(&names(&[(name, value)])).is_some(), "{name}");
    }
    let many: Names = (0..11).map(|n| (format!("V{n}"), "x".repeat(100_000))).collect();
    assert_eq!(find_invalid(&many).map(|(name, _)| name), Some("V9"));
    assert_eq!(find_invalid(&names(&[("HOME", "/root"), ("a.b", "")])), None);
}
