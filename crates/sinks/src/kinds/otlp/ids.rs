//! Ids of traces and spans, from what they are about.

use std::fmt::Write as _;

use ring::digest;

use super::super::About;

/// The trace of a turn.
pub(super) fn trace(about: &About, turn: u32) -> String {
    hex(&hash(about, turn, ""), 16)
}

/// The span of a turn; that of a clone is another one, of the same trace.
pub(super) fn span(about: &About, turn: u32, epoch: &str) -> String {
    hex(&hash(about, turn, epoch), 8)
}

fn hash(about: &About, turn: u32, epoch: &str) -> digest::Digest {
    let created_at = about.created_at.as_nanosecond();
    let text = format!("{}\n{created_at}\n{turn}\n{epoch}", about.session);
    digest::digest(&digest::SHA256, text.as_bytes())
}

fn hex(digest: &digest::Digest, bytes: usize) -> String {
    digest
        .as_ref()
        .iter()
        .take(bytes)
        .fold(String::new(), |mut text, byte| {
            // Writing to a String does not fail.
            let _written = write!(text, "{byte:02x}");
            text
        })
}
