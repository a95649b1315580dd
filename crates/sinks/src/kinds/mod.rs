//! The kinds of sinks: records in, HTTP messages out.
//!
//! Owns the settings and the message format of each kind. Promises that the same batch always gives the same messages,
//! byte for byte, except for the time in a signature. May not use a clock or the network, and reads the journal only
//! through the functions of a [`Batch`].
//!
//! There is one file or folder per kind, and [`of`] lists them. To add one, add its name to `SinkKind` in
//! `promptd-model`, implement [`Kind`] in `kinds/NAME.rs`, and add an arm to [`of`]. `http` is the smallest example.

mod cloudflare_kv;
mod common;
mod http;
mod kind;
mod otlp;
mod studio;
#[cfg(test)]
mod support_tests;
mod webhook;

pub use common::SinkError;
pub(crate) use kind::{Batch, Kind, Line, Message};

use common::Fields;
use promptd_model::{SinkKind, SinkRequest};

/// Checks the settings of a sink.
pub(crate) fn of(request: &SinkRequest) -> Result<Box<dyn Kind>, SinkError> {
    let fields = Fields::of(request);
    Ok(match request.kind {
        SinkKind::Http => Box::new(http::Http::of(&fields)?),
        SinkKind::Studio => Box::new(studio::Studio::of(&fields)?),
        SinkKind::CloudflareKv => Box::new(cloudflare_kv::CloudflareKv::of(&fields)?),
        SinkKind::Webhook => Box::new(webhook::Webhook::of(&fields)?),
        SinkKind::Otlp => Box::new(otlp::Otlp::of(&fields)?),
    })
}
