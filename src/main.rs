//! `promptd`: see `promptd --help`.

use std::process::ExitCode;
use std::sync::Arc;
use promptd::runtime::*;

fn main() -> ExitCode {
    // Before anything else: a keeper is started for every turn, and needs none of the rest.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "keeper") {
        return promptd::keeper::main();
    }
    let flags = config::Flags { listen: vec!["127.0.0.1:18080".into()], ..Default::default() };
    let settings = config::load(flags, &config::environment()).unwrap();
    let t = std::time::Instant::now();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async move {
        let r = Runtime::start(settings).await.unwrap();
        let s = promptd::api::Server::bind(Arc::clone(&r), promptd::api::Doors::All).await.unwrap();
        eprintln!("{:?} {:?}", s.addresses(), t.elapsed());
        s.run().await;
    });
    ExitCode::SUCCESS
}
