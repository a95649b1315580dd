//! `promptd`: see `promptd --help`.

use promptd::runtime::*;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    // Before anything else: a keeper is started for every turn, and needs none of the rest.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "keeper") {
        return promptd::keeper::main();
    }
    let a: Vec<String> = std::env::args().collect();
    let get = |n: &str| a.iter().position(|x| x == n).and_then(|i| a.get(i + 1).cloned());
    let flags = config::Flags {
        listen: get("--listen").into_iter().collect(),
        home: get("--home").map(Into::into),
        workspace: get("--workspace").map(Into::into),
        ..Default::default()
    };
    let settings = config::load(flags, &config::environment()).unwrap();
    let t = std::time::Instant::now();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async move {
            let r = Runtime::start(settings).await.unwrap();
            let s = promptd::api::Server::bind(Arc::clone(&r), promptd::api::Doors::All)
                .await
                .unwrap();
            eprintln!("{:?} {:?}", s.addresses(), t.elapsed());
            let r2 = Arc::clone(&r);
            tokio::spawn(async move {
                let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
                term.recv().await;
                r2.begin_shutdown();
            });
            s.run().await;
        });
    ExitCode::SUCCESS
}
