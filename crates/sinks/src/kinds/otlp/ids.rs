//! Ids of traces and spans, derived from their session, turn and epoch.

use std::fmt::Write as _;

use ring::digest;

use crate::source::SessionInfo;

/// The trace of a turn.
pub(super) fn trace(info: &SessionInfo, turn: u32) -> String {
    hex(&hash(info, turn, ""), 16)
}

/// The span of a turn. A cloned sandbox has another span in the same trace.
pub(super) fn span(info: &SessionInfo, turn: u32, epoch: &str) -> String {
    hex(&hash(info, turn, epoch), 8)
}

fn hash(info: &SessionInfo, turn: u32, epoch: &str) -> digest::Digest {
    let created_at = info.created_at.as_nanosecond();
    let text = format!("{}\n{created_at}\n{turn}\n{epoch}", info.session);
    digest::digest(&digest::SHA256, text.as_bytes())
}

fn hex(digest: &digest::Digest, bytes: usize) -> String {
    digest
        .as_ref()
        .iter()
        .take(bytes)
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _written = write!(text, "{byte:02x}");
            text
        })
}
