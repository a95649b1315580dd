//! Bodies: JSON and gzip.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

/// JSON. The same value always gives the same bytes.
pub(in crate::kinds) fn json(value: &impl Serialize) -> Vec<u8> {
    // This only fails for maps with keys that are not strings; no type here has one.
    serde_json::to_vec(value).unwrap_or_default()
}

/// gzip without a timestamp, so the same body always gives the same bytes.
pub(in crate::kinds) fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}
