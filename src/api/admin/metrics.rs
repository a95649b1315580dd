//! `GET /metrics`: what an operator watches, in the text that Prometheus reads.
//!
//! Labels have few values: never a session, a URL or anything a caller chose.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::state::SharedState;
use crate::runtime::Runtime;
use promptd_model::SessionStatus;
use promptd_sinks::{Counts, SinkState};

/// The type that `OpenMetrics` asks for.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindState {
    kind: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Agent {
    agent: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentKind {
    agent: String,
    kind: &'static str,
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String),
))]
pub(crate) async fn metrics(State(api): State<SharedState>, query: Query) -> Result<impl IntoResponse, Problem> {
    query.only(&[])?;
    let mut body = String::new();
    text::encode(&mut body, &registry(&api.runtime)).map_err(|error| Problem::internal(&error))?;
    Ok(([(CONTENT_TYPE, TEXT)], body))
}

/// Everything as it is now: nothing is kept between two scrapes.
fn registry(runtime: &Runtime) -> Registry {
    let mut registry = Registry::with_prefix("promptd");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The version that runs", version);
    let uptime = ConstGauge::new(runtime.uptime().as_secs_f64());
    registry.register_with_unit("uptime", "Since the server was started", Unit::Seconds, uptime);
    sessions(&mut registry, runtime);
    used(&mut registry, runtime);
    delivered(&mut registry, runtime);
    registry
}

fn sessions(registry: &mut Registry, runtime: &Runtime) {
    let by_status = Family::<Status, Gauge>::default();
    for status in SessionStatus::ALL {
        let status = status.name();
        drop(by_status.get_or_create(&Status { status }));
    }
    let by_state = Family::<KindState, Gauge>::default();
    let lag_records = Family::<Kind, Gauge<u64, AtomicU64>>::default();
    let lag_seconds = Family::<Kind, Gauge<f64, AtomicU64>>::default();
    for (kind, _) in runtime.delivery.counters().all() {
        let kind = kind.name();
        for state in SinkState::ALL.map(SinkState::name) {
            drop(by_state.get_or_create(&KindState { kind, state }));
        }
        drop(lag_records.get_or_create(&Kind { kind }));
        drop(lag_seconds.get_or_create(&Kind { kind }));
    }
    for session in runtime.sessions.all() {
        let status = session.state().status().name();
        by_status.get_or_create(&Status { status }).inc();
        for sink in runtime.sinks(&session) {
            let (kind, state) = (sink.kind.name(), sink.state.name());
            by_state.get_or_create(&KindState { kind, state }).inc();
            lag_records.get_or_create(&Kind { kind }).inc_by(sink.lag_records);
            let longest = lag_seconds.get_or_create(&Kind { kind });
            longest.set(longest.get().max(sink.lag_seconds));
        }
    }
    registry.register("sessions", "Sessions that are kept", by_status);
    registry.register("sinks", "Sinks of kept sessions", by_state);
    let help = "Records that backends do not have yet, in all sessions together";
    registry.register("sink_lag_records", help, lag_records);
    let help = "Since the oldest record was written that a backend does not have yet";
    registry.register_with_unit("sink_lag", help, Unit::Seconds, lag_seconds);
}

/// What agents report. Cached tokens are among the input.
fn used(registry: &mut Registry, runtime: &Runtime) {
    let tokens = Family::<AgentKind, Counter>::default();
    let cost = Family::<Agent, Counter<f64, AtomicU64>>::default();
    for (agent, usage) in runtime.sessions.usage_by_agent() {
        let counts = [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cached", usage.cached_tokens),
        ];
        for (kind, count) in counts {
            if let Some(count) = count {
                let agent = agent.clone();
                tokens.get_or_create(&AgentKind { agent, kind }).inc_by(count);
            }
        }
        if let Some(dollars) = usage.cost_usd {
            cost.get_or_create(&Agent { agent }).inc_by(dollars.max(0.0));
        }
    }
    let help = "Tokens of ended turns, as the agents report them; cached ones are among the input";
    registry.register("tokens", help, tokens);
    registry.register("cost_usd", "US dollars of ended turns, as the agents report them", cost);
}

/// Reads one number of what was counted.
type Read = fn(Counts) -> u64;

fn delivered(registry: &mut Registry, runtime: &Runtime) {
    let counters: [(&str, &str, Read); 5] = [
        ("sink_batches", "Batches that backends took", |counted| counted.batches),
        ("sink_records", "Records that backends took", |counted| counted.records),
        ("sink_bytes", "Bytes of the bodies that backends took", |counted| {
            counted.bytes
        }),
        (
            "sink_retries",
            "Attempts that failed and are made again by themselves",
            |counted| counted.retries,
        ),
        ("sink_refusals", "Attempts that backends refused", |counted| {
            counted.refusals
        }),
    ];
    for (name, help, read) in counters {
        let by_kind = Family::<Kind, Counter>::default();
        for (kind, counted) in runtime.delivery.counters().all() {
            by_kind.get_or_create(&Kind { kind: kind.name() }).inc_by(read(counted));
        }
        registry.register(name, help, by_kind);
    }
}
