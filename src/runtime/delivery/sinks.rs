//! Which sinks a session has: its own, and those of the configuration.

use crate::runtime::error::RuntimeError;
use crate::runtime::settings::Settings;
use promptd_model::SinkRequest;
use promptd_sinks::{Scope, Sink};

/// The sinks that a request asks for.
pub(crate) fn requested(sinks: &[SinkRequest]) -> Result<Vec<Sink>, RuntimeError> {
    Sink::all(sinks, Scope::Session).map_err(|(index, error)| RuntimeError::InvalidSink {
        field: format!("sinks[{index}].{}", error.field),
        problem: error.problem,
    })
}

/// The sinks of all sessions.
pub(crate) fn global(settings: &Settings) -> Vec<Sink> {
    // They were checked when the configuration was read.
    Sink::all(&settings.sinks, Scope::Global).unwrap_or_default()
}

/// A session's own sinks with one more, in the place of one of the same kind that has no name either; `None` where they
/// stay as they are.
pub(crate) fn with(own: &[SinkRequest], sink: &SinkRequest) -> Result<Option<Vec<SinkRequest>>, RuntimeError> {
    if own.contains(sink) {
        return Ok(None);
    }
    let others = own
        .iter()
        .filter(|other| other.kind != sink.kind || other.name.is_some());
    let sinks: Vec<_> = others.chain([sink]).cloned().collect();
    requested(&sinks)?;
    Ok(Some(sinks))
}
