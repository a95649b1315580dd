//! Accepting prompts: each once, each in the journal before the caller gets the answer.

use std::sync::Arc;

use crate::runtime::access::configure::Access;
use crate::runtime::blocking::run_blocking;
use crate::runtime::delivery::service::SinkDelivery;
use crate::runtime::error::RuntimeError;
use crate::runtime::launch::{catalog, validate};
use crate::runtime::lifecycle::admission::Admission;
use crate::runtime::session::handle::Session;
use crate::runtime::settings::SettingsStore;
use crate::runtime::turn::driver::TurnDriver;
use promptd_model::{Body, Prompt, PromptContent, SessionRequest, SessionState, TurnPhase, When};

/// A prompt for the next turn, or a message for the one that runs.
#[derive(Debug)]
pub struct NewPrompt {
    /// What it says.
    pub content: PromptContent,
    /// The agent is to begin a new conversation.
    pub fresh: bool,
    /// When the agent gets it.
    pub when: When,
}

impl From<PromptContent> for NewPrompt {
    fn from(content: PromptContent) -> Self {
        Self {
            content,
            fresh: false,
            when: When::Next,
        }
    }
}

impl From<String> for NewPrompt {
    fn from(text: String) -> Self {
        PromptContent::from(text).into()
    }
}

/// The answer to a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Prompted {
    /// The turn.
    pub turn: u32,
    /// The `seq` before its record.
    pub after: u64,
    /// False when the same request had been made before.
    pub new: bool,
}

/// What accepts prompts.
#[derive(Debug)]
pub(crate) struct Prompter {
    pub settings: Arc<SettingsStore>,
    pub access: Arc<Access>,
    pub admission: Arc<Admission>,
    pub driver: Arc<TurnDriver>,
    pub delivery: Arc<SinkDelivery>,
}

impl Prompter {
    /// Accepts the next turn of a session, or a message for the one that runs; `key` is the caller's `Idempotency-Key`.
    pub(crate) async fn prompt(
        &self,
        session: &Arc<Session>,
        prompt: NewPrompt,
        key: Option<String>,
    ) -> Result<Prompted, RuntimeError> {
        if prompt.fresh && prompt.when == When::Now {
            return Err(RuntimeError::InvalidField {
                field: "fresh",
                value: true.to_string(),
                hint: "a turn that runs has begun its conversation; leave it out, or leave out \"when\"".to_owned(),
            });
        }
        // A repetition is no new work: it is answered even where there is no room for any.
        if let Some(known) = find_repeated(&session.state(), key.as_deref()) {
            let session = Arc::clone(session);
            return run_blocking(move || repeat(&session, known, &prompt)).await;
        }
        let request = SessionRequest {
            agent: Some(session.agent().to_owned()),
            ..session.request().clone()
        };
        let (settings, access, admission) = (self.settings.get(), self.access.clone(), self.admission.clone());
        // It looks at PATH, at folders and at the disk.
        let prompt = run_blocking(move || {
            if prompt.when == When::Now {
                catalog::check_steering(&settings, request.agent.as_deref().unwrap_or_default())?;
            }
            validate::check(&settings, &access.variables(), &request, &prompt.content)?;
            admission.check(prompt.when == When::Next)?;
            Ok(prompt)
        })
        .await?;
        let prompted = session.transact(move |session, state| {
            if let Some(known) = find_repeated(state, key.as_deref()) {
                return (Vec::new(), repeat(session, known, &prompt));
            }
            if session.control.is_deleted() {
                let id = session.id().to_string();
                return (Vec::new(), Err(RuntimeError::SessionNotFound { id }));
            }
            let turn = match prompt.when {
                When::Next => Ok(state.next_turn()),
                When::Now => steered_turn(session, state),
            };
            let (turn, when, after) = match turn {
                Ok(turn) => (turn, prompt.when, state.last_seq),
                Err(error) => return (Vec::new(), Err(error)),
            };
            let record = Prompt {
                idempotency_key: key,
                fresh: prompt.fresh,
                ..Prompt::from(prompt.content)
            };
            let body = match when {
                When::Next => Body::Prompt(record),
                When::Now => Body::Steer(record),
            };
            (vec![(turn, body)], Ok(Prompted { turn, after, new: true }))
        });
        let prompted = prompted.await??;
        self.driver.drive(session);
        self.delivery.deliver(session);
        Ok(prompted)
    }
}

/// The turn whose agent takes a message now.
fn steered_turn(session: &Session, state: &SessionState) -> Result<u32, RuntimeError> {
    let current = state.current();
    let running = current.filter(|turn| turn.phase == TurnPhase::Running && turn.setup.is_none());
    let Some(turn) = running else {
        let id = session.id().to_string();
        return Err(RuntimeError::NotRunning { id });
    };
    if catalog::needs_dialog(session, turn) {
        return Ok(turn.turn);
    }
    Err(RuntimeError::Unsupported {
        agent: session.agent().to_owned(),
        field: "when".to_owned(),
        hint: "in this session it got its prompt once and for all; create the session with \"steerable\": true, or send the \
               prompt as the next turn"
            .to_owned(),
    })
}

/// What was accepted under this key before: its turn and its record, and when the agent was to get it.
fn find_repeated(state: &SessionState, key: Option<&str>) -> Option<(u32, u64, When)> {
    let key = key?;
    state.turns.iter().find_map(|turn| {
        if turn.idempotency_key.as_deref() == Some(key) {
            return Some((turn.turn, turn.prompt_seq, When::Next));
        }
        let steer = turn.steers.iter().find(|(_, known)| known.as_deref() == Some(key));
        steer.map(|(seq, _)| (turn.turn, *seq, When::Now))
    })
}

/// The same prompt again gives the same turn; another one under its key is refused.
fn repeat(session: &Session, known: (u32, u64, When), prompt: &NewPrompt) -> Result<Prompted, RuntimeError> {
    let (turn, seq, when) = known;
    let record = session.journal.read_message(seq)?;
    if (when, record.fresh) != (prompt.when, prompt.fresh) || !record.says(&prompt.content) {
        let what = "the Idempotency-Key".to_owned();
        return Err(RuntimeError::Conflict { what });
    }
    Ok(Prompted {
        turn,
        after: seq.saturating_sub(1),
        new: false,
    })
}
