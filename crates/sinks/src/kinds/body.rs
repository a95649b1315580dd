//! Bodies: JSON, and gzip of it.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

/// JSON; keys stand in the order of their type, so that the same value always gives the same bytes.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    // Only maps whose keys are no strings cannot be written, and none of our types has one.
    serde_json::to_vec(value).unwrap_or_default()
}

/// gzip without a time stamp, so that the same text always gives the same bytes.
pub(super) fn compressed(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}
