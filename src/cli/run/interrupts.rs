//! Ctrl-C: the first interrupts the turn, the second stops it, the third ends this process.
//!
//! Runs in its own task, so that it works while printing is blocked by a slow reader.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::client::{Client, Request, session_path};
use crate::cli::error::{CliError, exit};
use crate::cli::stdio::{print_error, say};
use crate::cli::terminal::quit;

/// The session that Ctrl-C applies to.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    session: Arc<OnceLock<String>>,
}

impl Interrupts {
    /// Starts to listen. Until there is a session, Ctrl-C ends this process.
    pub(crate) fn listen(client: Arc<Client>) -> Result<Self, CliError> {
        let signals = signal(SignalKind::interrupt()).map_err(CliError::Io)?;
        let session = Arc::new(OnceLock::new());
        tokio::spawn(handle_signals(signals, client, Arc::clone(&session)));
        Ok(Self { session })
    }

    /// Makes Ctrl-C apply to this session.
    pub(crate) fn apply_to(&self, session: &str) {
        // There is only one session.
        let _first = self.session.set(session.to_owned());
    }
}

async fn handle_signals(mut signals: Signal, client: Arc<Client>, session: Arc<OnceLock<String>>) {
    let mut count = 0_u32;
    while signals.recv().await.is_some() {
        let Some(id) = session.get() else {
            quit(exit::INTERRUPTED)
        };
        count = count.saturating_add(1);
        let (message, action) = match count {
            1 => ("interrupting the turn; Ctrl-C again stops it", "/interrupt"),
            2 => ("stopping the turn; Ctrl-C again leaves it running", "/stop"),
            _ => {
                say(&format!(
                    "promptd: leaving; `promptd attach {id}` follows the session again"
                ));
                quit(exit::INTERRUPTED);
            }
        };
        say(&format!("promptd: {message}"));
        let request = Request::post(session_path(id, action), b"{}".to_vec());
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            match client.send(&request).await {
                // 409: the turn has ended meanwhile.
                Ok(_) | Err(CliError::Refused { status: 409, .. }) => {}
                Err(error) => print_error(&error),
            }
        });
    }
}
