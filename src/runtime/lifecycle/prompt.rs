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
use promptd_model::{
    Body, Prompt, PromptContent, SessionRequest, SessionState, SinkRequest, TurnOptions, TurnPhase, When,
};

/// A prompt for the next turn, or a message for the one that runs.
#[derive(Debug)]
pub struct NewPrompt {
    /// What it says.
    pub content: PromptContent,
    /// The agent is to begin a new conversation.
    pub fresh: bool,
    /// When the agent gets it.
    pub when: When,
    /// What it chooses for its turn.
    pub options: TurnOptions,
    /// A sink that the session gets with it: both are accepted, or none.
    pub sink: Option<SinkRequest>,
}

impl From<PromptContent> for NewPrompt {
    fn from(content: PromptContent) -> Self {
        Self {
            content,
            fresh: false,
            when: When::Next,
            options: TurnOptions::default(),
            sink: None,
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
        if prompt.when == When::Now {
            check_message(&prompt)?;
        }
        // A repetition is no new work: it is answered even where there is no room for any.
        if let Some(known) = find_repeated(&session.state(), key.as_deref()) {
            let session = Arc::clone(session);
            return run_blocking(move || repeat(&session, known, &prompt)).await;
        }
        let request = SessionRequest {
            agent: Some(session.agent().to_owned()),
            ..prompt.options.applied_to(session.request().clone())
        };
        let (settings, access, admission) = (self.settings.get(), self.access.clone(), self.admission.clone());
        let folder = session.own_folder().unwrap_or(session.cwd()).to_owned();
        // It looks at PATH, at folders and at the disk.
        let prompt = run_blocking(move || {
            if prompt.when == When::Now {
                catalog::check_steering(&settings, request.agent.as_deref().unwrap_or_default())?;
            }
            validate::check(&settings, &access.variables(), &request, &folder, &prompt.content)?;
            admission.check(prompt.when == When::Next)?;
            Ok(prompt)
        })
        .await?;
        let decide = move |session: &Session, state: &SessionState| {
            if let Some(known) = find_repeated(state, key.as_deref()) {
                return (
                    Vec::new(),
                    repeat(session, known, &prompt).map(|prompted| (prompted, None)),
                );
            }
            if session.control.is_deleted() {
                let id = session.id().to_string();
                return (Vec::new(), Err(RuntimeError::SessionNotFound { id }));
            }
            let turn = match prompt.when {
                When::Next => Ok(state.next_turn()),
                When::Now => steered_turn(session, state),
            };
            let staged = |sink: &SinkRequest| session.stage_sink(sink);
            let staged = turn.and_then(|turn| Ok((turn, prompt.sink.as_ref().map(staged).transpose()?.flatten())));
            let (turn, staged) = match staged {
                Ok(staged) => staged,
                Err(error) => return (Vec::new(), Err(error)),
            };
            let (when, after) = (prompt.when, state.last_seq);
            let record = Prompt {
                idempotency_key: key,
                fresh: prompt.fresh,
                options: prompt.options,
                ..Prompt::from(prompt.content)
            };
            let body = match when {
                When::Next => Body::Prompt(record),
                When::Now => Body::Steer(record),
            };
            (vec![(turn, body)], Ok((Prompted { turn, after, new: true }, staged)))
        };
        let accepted = session.transact_and(decide, |session, decided| {
            let (prompted, staged) = decided?;
            if let Some(staged) = staged {
                session.commit_sinks(staged);
            }
            Ok::<_, RuntimeError>(prompted)
        });
        let prompted = accepted.await??;
        self.driver.drive(session);
        self.delivery.deliver(session);
        Ok(prompted)
    }
}

/// Refuses what a message for the turn that runs cannot ask for.
fn check_message(prompt: &NewPrompt) -> Result<(), RuntimeError> {
    let TurnOptions {
        model,
        permission,
        max_turns,
    } = &prompt.options;
    let fields = [
        ("fresh", prompt.fresh),
        ("model", model.is_some()),
        ("permission", permission.is_some()),
        ("max_turns", max_turns.is_some()),
    ];
    match fields.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(RuntimeError::InvalidField {
            field,
            value: "given".to_owned(),
            hint: "a turn that runs has begun, and keeps what it began with; leave it out, or leave out \"when\""
                .to_owned(),
        }),
        None => Ok(()),
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
        able: Vec::new(),
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
    let is_same = (when, record.fresh, &record.options) == (prompt.when, prompt.fresh, &prompt.options);
    if !is_same || !record.says(&prompt.content) {
        let what = "the Idempotency-Key".to_owned();
        return Err(RuntimeError::Conflict { what });
    }
    Ok(Prompted {
        turn,
        after: seq.saturating_sub(1),
        new: false,
    })
}
