//! Converts turns to traces: one span each, from the acceptance of the turn to its end.

use super::ids;
use super::schema::{
    KeyValue, Nanos, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanEvent, SpanStatus, TracesRequest,
};
use crate::kinds::common::wire_name;
use crate::kinds::kind::{Batch, Line};
use crate::source::SessionInfo;
use promptd_model::{Body, Record, Status, TurnEnded};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// Maximum bytes of an error message; many receivers truncate longer ones.
const MAX_MESSAGE: usize = 4096;

/// The turns that ended in a batch; `None` when there is none.
pub(super) fn request(batch: &Batch<'_>) -> Option<TracesRequest> {
    let ends = |line: &&Line| line.head().is_some_and(|head| head.kind.name() == "turn_ended");
    let records = batch.lines.iter().filter(ends).filter_map(Line::record);
    let spans: Vec<Span> = records.filter_map(|record| span(batch, &record)).collect();
    if spans.is_empty() {
        return None;
    }
    let scope_spans = [ScopeSpans {
        scope: Scope::OURS,
        spans,
    }];
    let resource = Resource::of(batch.epoch);
    Some(TracesRequest {
        resource_spans: [ResourceSpans { resource, scope_spans }],
    })
}

fn span(batch: &Batch<'_>, record: &Record) -> Option<Span> {
    let Body::TurnEnded(ended) = &record.body else {
        return None;
    };
    let info = batch.info;
    let turn = batch.state.turn(record.turn);
    let end = Nanos::of(record.time);
    let start = turn.map_or(end, |turn| Nanos::of(turn.accepted_at));
    let started = turn.and_then(|turn| turn.started.as_ref());
    let events = started.map(|(_, time)| SpanEvent {
        time_unix_nano: Nanos::of(*time),
        name: "promptd.started",
    });
    let mut attributes = attributes(info, ended);
    let chosen = turn.and_then(|turn| turn.options.model.as_deref());
    let model = chosen.or(info.model.as_deref());
    attributes.extend(model.map(|model| KeyValue::of("gen_ai.request.model", model)));
    attributes.push(KeyValue::of("promptd.turn", record.turn));
    attributes.push(KeyValue::of("promptd.seq", record.seq));
    attributes.extend(turn.map(|turn| KeyValue::of("promptd.attempt", turn.attempt)));
    // A cancelled turn is what the caller wanted, and not an error.
    let failed = !matches!(ended.status, Status::Completed | Status::Cancelled);
    let status = failed.then(|| SpanStatus {
        message: message(ended),
        code: ERROR,
    });
    if failed {
        let kind = ended.cause.map_or_else(|| wire_name(ended.status), wire_name);
        attributes.push(KeyValue::of("error.type", kind));
    }
    Some(Span {
        trace_id: ids::trace(info, record.turn),
        span_id: ids::span(info, record.turn, batch.epoch),
        name: format!("invoke_agent {}", info.agent),
        kind: INTERNAL,
        start_time_unix_nano: start,
        // The wall clock may have been set back.
        end_time_unix_nano: end.max(start),
        attributes,
        events: events.into_iter().collect(),
        status,
    })
}

fn attributes(info: &SessionInfo, ended: &TurnEnded) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::of("gen_ai.operation.name", "invoke_agent"),
        KeyValue::of("gen_ai.agent.name", info.agent.as_str()),
        KeyValue::of("gen_ai.conversation.id", info.session.as_str()),
        KeyValue::of("promptd.status", wire_name(ended.status)),
    ];
    let mut add = |pair: Option<KeyValue>| attributes.extend(pair);
    let named = Some(info.agent_id.as_str()).filter(|id| *id != info.agent);
    add(named.map(|id| KeyValue::of("gen_ai.agent.id", id)));
    add(provider(&info.agent).map(|name| KeyValue::of("gen_ai.provider.name", name)));
    let usage = ended.usage.unwrap_or_default();
    add(usage
        .input_tokens
        .map(|count| KeyValue::of("gen_ai.usage.input_tokens", count)));
    add(usage
        .output_tokens
        .map(|count| KeyValue::of("gen_ai.usage.output_tokens", count)));
    add(usage
        .cached_tokens
        .map(|count| KeyValue::of("gen_ai.usage.cache_read.input_tokens", count)));
    // JSON cannot represent a number that is not finite.
    let cost = usage.cost_usd.filter(|cost| cost.is_finite());
    add(cost.map(|cost| KeyValue::of("promptd.cost_usd", cost)));
    add(ended.cause.map(|cause| KeyValue::of("promptd.cause", wire_name(cause))));
    add(ended
        .stop_reason
        .map(|reason| KeyValue::of("promptd.stop_reason", wire_name(reason))));
    let resumed = ended.agent_session_id.as_deref();
    add(resumed.map(|id| KeyValue::of("promptd.agent_session_id", id)));
    attributes
}

/// The provider of an agent's models, if the agent's name determines it.
fn provider(agent: &str) -> Option<&'static str> {
    match agent {
        "claude" => Some("anthropic"),
        "codex" => Some("openai"),
        "gemini" => Some("gcp.gemini"),
        _ => None,
    }
}

fn message(ended: &TurnEnded) -> String {
    let error = ended.error.clone().unwrap_or_else(|| wire_name(ended.status));
    let cut = (0..=MAX_MESSAGE.min(error.len()))
        .rev()
        .find(|length| error.is_char_boundary(*length));
    error.get(..cut.unwrap_or(0)).unwrap_or_default().to_owned()
}
