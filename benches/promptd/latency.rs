//! From an agent's write to its readers, live.

use std::net::TcpStream;
use std::time::Duration;

use super::client::{Form, numbers};
use super::server::Server;
use super::table::{Figure, Table, percentile};
use super::{agent, client};

const READERS: usize = 100;

/// One reader, an agent that writes a line every two milliseconds.
pub(crate) fn one_reader(table: &mut Table) {
    let prompt = "clock 2000 2000";
    let mut pipe = agent::bare(prompt).spawn().unwrap();
    let mut bare = delays(&mut pipe.stdout.take().unwrap(), Form::Lines);
    pipe.wait().unwrap();
    let server = Server::start();
    let session = server.create(prompt);
    let mut ours = delays(&mut client::events(&server.address, &session), Form::Records);
    assert_eq!((ours.len(), bare.len()), (2000, 2000), "lines were lost");
    for (what, percent, aim) in [("p50", 50, "< 60 µs"), ("p99", 99, "")] {
        table.row(
            &format!("write to SSE, {what}"),
            Figure::Time(percentile(&mut ours, percent)),
            ("pipe", Figure::Time(percentile(&mut bare, percent))),
            aim,
        );
    }
}

/// A hundred readers of one session, first slow, then as fast as it goes.
pub(crate) fn hundred_readers(table: &mut Table) {
    let server = Server::start();
    let mut delays: Vec<Duration> = follow_all(&server, "clock 300 10000", |reader| delays(reader, Form::Records))
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(delays.len(), 300 * READERS, "lines were lost");
    for (what, percent) in [("p50", 50), ("p99", 99)] {
        let delay = Figure::Time(percentile(&mut delays, percent));
        table.alone(&format!("100 readers, write to SSE, {what}"), delay, "");
    }
    let begun = agent::now();
    let counts = follow_all(&server, "flood 100000 100", |reader| {
        let mut count = 0_u64;
        numbers(reader, Form::Records, |number, _| {
            assert_eq!(number.unwrap_or(count), count, "a line was lost");
            count += 1;
        });
        count
    });
    let seconds = Duration::from_nanos(agent::now() - begun).as_secs_f64();
    assert!(counts.iter().all(|count| *count == 100_000), "lines were lost");
    let rate = (100_000 * READERS) as f64 / seconds;
    table.alone("100 readers, flood, all together", Figure::Rate(rate, "lines"), "");
}

/// Starts an agent with a hundred readers; what each of them made of it.
fn follow_all<T: Send>(server: &Server, prompt: &str, read: impl Fn(&mut TcpStream) -> T + Sync) -> Vec<T> {
    let session = server.create(prompt);
    let streams: Vec<TcpStream> = (0..READERS)
        .map(|_| client::events(&server.address, &session))
        .collect();
    let read = &read;
    std::thread::scope(|scope| {
        let threads: Vec<_> = streams
            .into_iter()
            .map(|mut stream| scope.spawn(move || read(&mut stream)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn delays(source: &mut impl std::io::Read, form: Form) -> Vec<Duration> {
    let mut delays = Vec::new();
    numbers(source, form, |written, came| {
        delays.extend(written.map(|written| Duration::from_nanos(came.saturating_sub(written))));
    });
    delays
}
