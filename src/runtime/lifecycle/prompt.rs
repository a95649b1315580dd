//! Accepting prompts: each once, each in the journal before the caller gets the answer.

use std::sync::Arc;

use crate::runtime::access::configure::Access;
use crate::runtime::blocking::run_blocking;
use crate::runtime::delivery::service::SinkDelivery;
use crate::runtime::error::RuntimeError;
use crate::runtime::launch::validate;
use crate::runtime::lifecycle::admission::Admission;
use crate::runtime::session::handle::Session;
use crate::runtime::settings::SettingsStore;
use crate::runtime::turn::driver::TurnDriver;
use promptd_model::{Body, Prompt, PromptContent, SessionRequest, SessionState, TurnState};

/// A prompt for the next turn.
#[derive(Debug)]
pub struct NewPrompt {
    /// What it says.
    pub content: PromptContent,
    /// The agent is to begin a new conversation.
    pub fresh: bool,
}

impl From<PromptContent> for NewPrompt {
    fn from(content: PromptContent) -> Self {
        Self { content, fresh: false }
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
    /// The `seq` before its `prompt` record.
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
    /// Accepts the next turn of a session; `key` is the caller's `Idempotency-Key`.
    pub(crate) async fn prompt(
        &self,
        session: &Arc<Session>,
        prompt: NewPrompt,
        key: Option<String>,
    ) -> Result<Prompted, RuntimeError> {
        // A repetition is no new work: it is answered even where there is no room for any.
        if let Some(turn) = find_repeated(&session.state(), key.as_deref()) {
            let session = Arc::clone(session);
            return run_blocking(move || repeat(&session, &turn, &prompt)).await;
        }
        let request = SessionRequest {
            agent: Some(session.agent().to_owned()),
            ..session.request().clone()
        };
        let (settings, access, admission) = (self.settings.get(), self.access.clone(), self.admission.clone());
        // It looks at PATH, at folders and at the disk.
        let prompt = run_blocking(move || {
            validate::check(&settings, &access.variables(), &request, &prompt.content)?;
            admission.check(true)?;
            Ok(prompt)
        })
        .await?;
        let prompted = session.transact(move |session, state| {
            if let Some(turn) = find_repeated(state, key.as_deref()) {
                return (Vec::new(), repeat(session, &turn, &prompt));
            }
            if session.control.is_deleted() {
                let id = session.id().to_string();
                return (Vec::new(), Err(RuntimeError::SessionNotFound { id }));
            }
            let (turn, after) = (state.next_turn(), state.last_seq);
            let body = Body::Prompt(Prompt {
                idempotency_key: key,
                fresh: prompt.fresh,
                ..Prompt::from(prompt.content)
            });
            (vec![(turn, body)], Ok(Prompted { turn, after, new: true }))
        });
        let prompted = prompted.await??;
        self.driver.drive(session);
        self.delivery.deliver(session);
        Ok(prompted)
    }
}

/// The turn that was accepted under this key before.
fn find_repeated(state: &SessionState, key: Option<&str>) -> Option<Arc<TurnState>> {
    let key = key?;
    let mut turns = state.turns.iter();
    turns.find(|turn| turn.idempotency_key.as_deref() == Some(key)).cloned()
}

/// The same prompt again gives the same turn; another one under its key is refused.
fn repeat(session: &Session, turn: &TurnState, prompt: &NewPrompt) -> Result<Prompted, RuntimeError> {
    if turn.fresh != prompt.fresh || !session.journal.read_prompt(turn)?.says(&prompt.content) {
        let what = "the Idempotency-Key".to_owned();
        return Err(RuntimeError::Conflict { what });
    }
    Ok(Prompted {
        turn: turn.turn,
        after: turn.prompt_seq.saturating_sub(1),
        new: false,
    })
}
