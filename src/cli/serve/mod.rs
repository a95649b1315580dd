//! `promptd serve`: runs the server until a signal ends it.

mod config_watch;

use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::config_watch::ConfigWatch;
use crate::api::{Listeners, Server};
use crate::cli::client::take_home;
use crate::cli::error::{CliError, exit};
use crate::cli::global::Global;
use crate::cli::terminal::quit;
use crate::runtime::config::{self, Flags};
use crate::runtime::{Runtime, Settings};

const AFTER_HELP: &str = "\
Every flag has a PROMPTD_… variable and a key in config.toml. The flag wins, then the variable, then the file.
PORT=9000 in the environment means --listen 0.0.0.0:9000. RUST_LOG selects log messages (default: info).

Signals: SIGTERM or SIGINT ends streams and exits 0; agents keep running, and the next server adopts them. The second
signal exits at once. SIGHUP, or a change of the file, reloads the configuration.

Examples:
  promptd serve
  PROMPTD_TOKEN=secret promptd serve --listen 0.0.0.0:8080
  promptd serve --listen unix:/run/promptd.sock --listen 127.0.0.1:8080
  curl -N localhost:8080/v1/sessions -H 'Accept: text/event-stream' --json '{\"agent\":\"shell\",\"prompt\":\"echo hello\"}'";

/// Run the server
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
}

pub(super) async fn serve(global: &Global, args: ServeArgs) -> Result<u8, CliError> {
    let home = global.home.clone();
    let flags = Flags { home, ..args.flags };
    let settings = config::load(flags.clone(), &config::environment())?;
    serve_with(flags, settings).await
}

async fn serve_with(flags: Flags, settings: Settings) -> Result<u8, CliError> {
    // First, so that a signal during a long start does not kill the process.
    let mut signals = Signals::listen()?;
    let hangups = signal(SignalKind::hangup()).map_err(CliError::Io)?;
    let config_file = settings.config_file.clone();
    let runtime = tokio::select! {
        runtime = take_home(&settings) => runtime?,
        _ = signals.next() => return Ok(exit::DONE),
    };
    let server = Server::bind(Arc::clone(&runtime), Listeners::All).await?;
    tokio::spawn(reload(
        Arc::clone(&runtime),
        flags,
        hangups,
        ConfigWatch::new(&config_file),
    ));
    let mut server = tokio::spawn(server.run());
    tokio::select! {
        ended = &mut server => return Err(CliError::Ended(match ended {
            Ok(()) => "nothing is listened on any more, and the log says why".to_owned(),
            Err(error) => error.to_string(),
        })),
        name = signals.next() => tracing::info!(signal = name, "shutting down; agents keep running unless --stop-agents is set"),
    }
    runtime.shutdown.begin();
    let settings = runtime.settings();
    let agents = async {
        if settings.stop_agents {
            runtime.stop_all(settings.grace).await;
        }
    };
    let delivered = async {
        // The agents' last output is delivered, too.
        agents.await;
        if tokio::time::timeout(settings.grace, runtime.delivery.flush())
            .await
            .is_err()
        {
            tracing::warn!("not everything could be delivered in time; the next server delivers the rest");
        }
    };
    let over = async { tokio::join!(server, delivered) };
    tokio::select! {
        _over = over => Ok(exit::DONE),
        name = signals.next() => {
            tracing::warn!(signal = name, "exiting at once");
            quit(exit::INTERRUPTED)
        }
    }
}

/// The signals that end the server.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CliError> {
        let terminate = signal(SignalKind::terminate()).map_err(CliError::Io)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(CliError::Io)?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Reloads the configuration whenever it may have changed.
async fn reload(runtime: Arc<Runtime>, flags: Flags, mut hangups: Signal, mut file: ConfigWatch) {
    // It may have changed between the first reading and the start of the watch.
    apply(&runtime, &flags);
    loop {
        tokio::select! {
            _ = hangups.recv() => {
                tracing::info!("SIGHUP: reading the configuration");
                apply(&runtime, &flags);
                // The backend may have been repaired.
                runtime.delivery.retry_now();
            }
            () = file.changed() => apply(&runtime, &flags),
        }
    }
}

/// Applies the current configuration; an invalid one changes nothing.
fn apply(runtime: &Arc<Runtime>, flags: &Flags) {
    let old = runtime.settings();
    let new = match config::load(flags.clone(), &config::environment()) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(%error, "the configuration cannot be used; the old one stays in force");
            return;
        }
    };
    if new == *old {
        return;
    }
    let connections = (new.limits.connections, old.limits.connections);
    if new.listen != old.listen || new.workspace != old.workspace || connections.0 != connections.1 {
        tracing::warn!(
            "a change of `listen`, `workspace` or `limits.connections` needs a restart; the rest is in force"
        );
    }
    runtime.reload(new);
    tracing::info!("the configuration was reloaded");
}
