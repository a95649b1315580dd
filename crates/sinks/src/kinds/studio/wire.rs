//! The bodies of the backend's API.

use serde::Serialize;

/// More text of a stream.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Append<'a> {
    pub(super) agent_id: &'a str,
    pub(super) session_id: &'a str,
    pub(super) key: String,
    pub(super) chunk: &'a str,
    pub(super) timestamp: String,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// A single value.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log<'a> {
    pub(super) agent_id: &'a str,
    pub(super) session_id: &'a str,
    pub(super) key: String,
    pub(super) value: &'a str,
}

/// The status of the session.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionStatus<'a> {
    pub(super) agent_id: &'a str,
    pub(super) session_id: &'a str,
    pub(super) status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'a str>,
}
