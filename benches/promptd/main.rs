//! `cargo bench`: what promptd costs, each figure beside the bare way of doing the same in the same run.
//!
//! Every agent here is this program itself, started again (see `agent`); every client is a raw socket (see
//! `client`). Nothing is asserted but that no line is lost: the figures are for people. `cargo bench -- latency`
//! runs only the parts whose name contains one of the words.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot measure says so by failing"
)]
#![expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures for people: a rounded nanosecond is as good"
)]

mod agent;
mod client;
mod delivery;
mod latency;
mod peer;
mod server;
mod start;
mod table;
mod throughput;

use table::Table;

/// A part: its name, and what measures it.
type Part = (&'static str, fn(&mut Table));

const PARTS: [Part; 11] = [
    ("latency", latency::one_reader),
    ("fanout", latency::hundred_readers),
    ("exec", start::to_exec),
    ("healthy", start::to_healthy),
    ("memory", start::memory),
    ("restart", start::restart),
    ("flood", throughput::flood),
    ("replay", throughput::replay),
    ("delivery", delivery::delivery),
    ("masking", throughput::masking),
    ("peer", peer::compare),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == agent::MARK) {
        return agent::main(&words[1..]);
    }
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let mut table = Table::default();
    for (name, measure) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            eprintln!("{name} ...");
            measure(&mut table);
        }
    }
    table.print();
}
