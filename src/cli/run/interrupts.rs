//! Ctrl-C: once interrupts the turn, twice stops it, a third time leaves at once.
//!
//! A task of its own, so that it works while the one who prints is blocked by a reader.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::client::{Client, Request, session_path};
use crate::cli::error::{CliError, exit};
use crate::cli::stdio::{complain, say};
use crate::cli::terminal::quit;

/// What Ctrl-C acts on.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    session: Arc<OnceLock<String>>,
}

impl Interrupts {
    /// Begins to listen; until there is a session, Ctrl-C ends this process.
    pub(crate) fn listen(client: Arc<Client>) -> Result<Self, CliError> {
        let signals = signal(SignalKind::interrupt()).map_err(CliError::Io)?;
        let session = Arc::new(OnceLock::new());
        tokio::spawn(act(signals, client, Arc::clone(&session)));
        Ok(Self { session })
    }

    /// From now on Ctrl-C means this session's turn.
    pub(crate) fn mean(&self, session: &str) {
        // A second session is never meant.
        let _first = self.session.set(session.to_owned());
    }
}

async fn act(mut signals: Signal, client: Arc<Client>, session: Arc<OnceLock<String>>) {
    let mut count = 0_u32;
    while signals.recv().await.is_some() {
        let Some(id) = session.get() else {
            quit(exit::INTERRUPTED)
        };
        count = count.saturating_add(1);
        let request = match count {
            1 => {
                say("promptd: interrupting the turn; Ctrl-C again stops it");
                Request::post(session_path(id, "/interrupt"), b"{}".to_vec())
            }
            2 => {
                say("promptd: stopping the turn; Ctrl-C again leaves it behind");
                Request::post(session_path(id, "/stop"), b"{}".to_vec())
            }
            _ => {
                say(&format!("promptd: leaving; `promptd attach {id}` comes back to it"));
                quit(exit::INTERRUPTED);
            }
        };
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            match client.send(&request).await {
                // 409: the turn was over before we could say so.
                Ok(_) | Err(CliError::Refused { status: 409, .. }) => {}
                Err(error) => complain(&error),
            }
        });
    }
}
