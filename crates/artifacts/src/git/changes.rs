//! Parses git's output whose fields end with a NUL.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::change::{Change, ChangeStatus, MAX_FILES};

/// Splits output into fields, whatever pieces it comes in.
#[derive(Debug, Default)]
pub(super) struct NulFields(Vec<u8>);

impl NulFields {
    /// Calls `on_field` with each complete field.
    pub(super) fn push(&mut self, bytes: &[u8], mut on_field: impl FnMut(Vec<u8>)) {
        for part in bytes.split_inclusive(|byte| *byte == 0) {
            self.0.extend_from_slice(part);
            if self.0.pop_if(|last| *last == 0).is_some() {
                on_field(std::mem::take(&mut self.0));
            }
        }
    }
}

/// Parses `--name-status -z`: a letter and a path; two paths for a rename.
#[derive(Debug, Default)]
pub(super) struct ChangeParser {
    fields: NulFields,
    entries: Entries,
}

impl ChangeParser {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Self { fields, entries } = self;
        fields.push(bytes, |field| entries.push(field));
    }

    /// The changes, and whether there are more than [`MAX_FILES`].
    pub(super) fn into_changes(self) -> (Vec<Change>, bool) {
        (self.entries.changes, self.entries.truncated)
    }
}

#[derive(Debug, Default)]
struct Entries {
    /// The fields of the current entry.
    fields: Vec<Vec<u8>>,
    changes: Vec<Change>,
    truncated: bool,
}

impl Entries {
    fn push(&mut self, field: Vec<u8>) {
        self.fields.push(field);
        let letter = self.fields.first().and_then(|field| field.first()).copied();
        let two_paths = matches!(letter, Some(b'R' | b'C'));
        if self.fields.len() < if two_paths { 3 } else { 2 } {
            return;
        }
        let path = |field| PathBuf::from(OsString::from_vec(field));
        let mut paths = std::mem::take(&mut self.fields).into_iter().skip(1).map(path);
        let (first, second) = (paths.next().unwrap_or_default(), paths.next());
        let status = match letter {
            Some(b'A' | b'C') => ChangeStatus::Added,
            Some(b'D') => ChangeStatus::Deleted,
            Some(b'R') => ChangeStatus::Renamed,
            Some(_) | None => ChangeStatus::Modified,
        };
        let (path, from) = match second {
            Some(path) => (path, Some(first).filter(|_| status == ChangeStatus::Renamed)),
            None => (first, None),
        };
        // A file with a conflict is listed twice.
        if self.changes.last().is_some_and(|last| last.path == path) {
            return;
        }
        if self.changes.len() >= MAX_FILES {
            self.truncated = true;
            return;
        }
        self.changes.push(Change {
            path,
            from,
            status,
            size: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8], cut: usize) -> Vec<Change> {
        let mut parser = ChangeParser::default();
        for block in bytes.chunks(cut.max(1)) {
            parser.push(block);
        }
        parser.into_changes().0
    }

    fn change(status: ChangeStatus, path: &str, from: Option<&str>) -> Change {
        let (path, from, size) = (PathBuf::from(path), from.map(PathBuf::from), None);
        Change {
            path,
            from,
            status,
            size,
        }
    }

    #[test]
    fn every_status_and_name_is_parsed() {
        let text = b"A\0new\nline\0D\0gone\0R086\0old name\0new name\0T\0link\0U\0both\0M\0both\0C100\0a\0b\0";
        for cut in [1, 3, 100] {
            assert_eq!(
                parse(text, cut),
                [
                    change(ChangeStatus::Added, "new\nline", None),
                    change(ChangeStatus::Deleted, "gone", None),
                    change(ChangeStatus::Renamed, "new name", Some("old name")),
                    change(ChangeStatus::Modified, "link", None),
                    change(ChangeStatus::Modified, "both", None),
                    change(ChangeStatus::Added, "b", None),
                ]
            );
        }
    }

    proptest! {
        #[test]
        fn result_does_not_depend_on_blocks(bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(b'R'), any::<u8>()], 0..80), cut in 1_usize..9) {
            prop_assert_eq!(parse(&bytes, cut), parse(&bytes, 1000));
        }
    }
}
