//! The I/O of a dialog: records for questions and answers, lines to the agent, the end of an interrupted turn.
//!
//! What is to be done follows from the journal and is done once: records are written under the journal's lock, lines
//! through the keeper, which refuses what has been written meanwhile. Nothing here has to outlive the server.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::runtime::dialog::question;
use crate::runtime::dialog::state::DialogState;
use crate::runtime::error::RuntimeError;
use crate::runtime::keeper::client;
use crate::runtime::keeper::handle::KeeperHandle;
use crate::runtime::keeper::stop::{INTERRUPT_GRACE, stop_tree_later};
use crate::runtime::session::handle::Session;
use promptd_agents::Question;
use promptd_keeper::{Request, Response, STDIN_NOT_OPEN};
use promptd_model::{BY_AGENT, Body, CANCELLED, Cause, Permission, PermissionAnswer, SessionState, TurnState, len64};

/// Who answered in place of a caller: an interrupt of the turn.
const BY_INTERRUPT: &str = "interrupt";

/// Who answered in place of a caller: the default, after the time limit.
const BY_DEFAULT: &str = "default";

/// A keeper that refused, or is being replaced, is asked again after this long.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// An agent may take its time to read.
const SEND_TIMEOUT: Duration = Duration::from_hours(24);

/// How long an agent may take for each answer that it owes before it gets the prompt. Every line of its protocol gives it
/// as long again: a session may be replayed.
const OPENING_TIMEOUT: Duration = Duration::from_secs(30);

/// The same, where it starts MCP servers meanwhile: some are downloaded first.
const OPENING_TIMEOUT_WITH_SERVERS: Duration = Duration::from_mins(5);

/// What an agent answers before it starts anything.
const FIRST_METHOD: &str = "initialize";

/// The I/O of one attempt's dialog.
pub(crate) struct DialogIo {
    session: Arc<Session>,
    keeper: Option<Arc<KeeperHandle>>,
    turn: u32,
    sending: Option<Sending>,
    /// Nothing is sent before.
    retry_at: Option<Instant>,
    /// The agent's standard input is closed.
    closed: bool,
    /// When this server interrupted the agent.
    interrupted: Option<Instant>,
    /// Its process tree is being ended, as it did not end by itself.
    ending: bool,
    /// What the agent has to answer before it gets the prompt, since when it is known, and until when.
    opening: Option<Opening>,
    /// When open questions get their default answer, by the monotonic clock: a wall clock may be set.
    limits: BTreeMap<String, Instant>,
}

struct Opening {
    method: &'static str,
    since: Instant,
    limit: Instant,
}

struct Sending {
    exchange: JoinHandle<io::Result<Response>>,
    closes: bool,
}

impl DialogIo {
    pub(crate) fn new(session: &Arc<Session>, turn: u32, keeper: Option<&Arc<KeeperHandle>>) -> Self {
        Self {
            session: Arc::clone(session),
            keeper: keeper.cloned(),
            turn,
            sending: None,
            retry_at: None,
            closed: false,
            interrupted: None,
            ending: false,
            opening: None,
            limits: BTreeMap::new(),
        }
    }

    /// Does what is due. The dialog has read the journal to its end; `last_line` is when the agent wrote a line of its
    /// protocol last. Limits that `now` has reached are obeyed.
    pub(crate) async fn advance(
        &mut self,
        dialog: &mut DialogState,
        turn: &TurnState,
        now: Instant,
        last_line: Instant,
    ) -> Result<(), RuntimeError> {
        self.limit_opening(dialog, turn, now, last_line);
        let ended_by = self.session.control.ended_by(self.turn);
        let due = dialog.due();
        if ended_by == Some(Cause::Interrupted) || dialog.is_interrupted() {
            self.interrupt(dialog, turn, now).await?;
        } else {
            self.limits
                .retain(|id, _| turn.permissions.iter().any(|(permission, _)| permission.id == *id));
            self.ask(dialog.questions(), turn, now).await?;
            self.withdraw(dialog.withdrawn(), turn).await?;
            self.answer_by_default(turn, now).await?;
        }
        // An interrupt has added lines.
        let due = if self.interrupted.is_some() { dialog.due() } else { due };
        self.send(due, dialog);
        Ok(())
    }

    /// Gives an agent up that does not answer what it has to answer before it gets the prompt.
    fn limit_opening(&mut self, dialog: &mut DialogState, turn: &TurnState, now: Instant, last_line: Instant) {
        let Some(method) = dialog.awaited_method().filter(|_| !turn.frozen) else {
            self.opening = None;
            return;
        };
        let known = self.opening.as_ref().filter(|opening| opening.method == method);
        let since = known.map_or(now, |opening| opening.since);
        let has_servers = method != FIRST_METHOD && dialog.starts_servers;
        let timeout = if has_servers {
            OPENING_TIMEOUT_WITH_SERVERS
        } else {
            OPENING_TIMEOUT
        };
        let limit = since.max(last_line) + timeout;
        self.opening = Some(Opening { method, since, limit });
        if now >= limit {
            let seconds = timeout.as_secs();
            dialog.give_up(&format!(
                "the agent did not answer `{method}` within {seconds} s; its output tells more, and an MCP server that \
                 does not start can be the reason"
            ));
            self.opening = None;
        }
    }

    async fn interrupt(
        &mut self,
        dialog: &mut DialogState,
        turn: &TurnState,
        now: Instant,
    ) -> Result<(), RuntimeError> {
        if !turn.permissions.is_empty() {
            // In the journal first: by it a later server knows that the turn is to end.
            let answer = |_: &Permission| Some((CANCELLED.to_owned(), BY_INTERRUPT));
            self.answer(answer).await?;
        }
        dialog.interrupt();
        let since = *self.interrupted.get_or_insert(now);
        let is_late = !self.ending && now.saturating_duration_since(since) >= INTERRUPT_GRACE;
        if let Some(keeper) = self.keeper.as_ref().filter(|_| is_late) {
            self.ending = true;
            stop_tree_later(keeper, INTERRUPT_GRACE, Some(Cause::Interrupted));
        }
        Ok(())
    }

    /// Writes the questions that are not in the journal.
    async fn ask(&mut self, questions: &[Question], turn: &TurnState, now: Instant) -> Result<(), RuntimeError> {
        let unknown: Vec<Question> = questions
            .iter()
            .filter(|asked| !question::is_known(turn, asked))
            .cloned()
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let (number, timeout) = (self.turn, question::timeout(self.session.request()));
        for asked in &unknown {
            // From before the record can be seen, so that a pause right after it counts as one.
            self.limits.insert(asked.id.clone(), now + timeout);
        }
        let ask = move |_: &Session, state: &SessionState| {
            let Some(turn) = state.turn(number).filter(|turn| turn.exited.is_none()) else {
                return (Vec::new(), ());
            };
            let expires_at = Some(question::expiry(timeout));
            let unknown = unknown.into_iter().filter(|asked| !question::is_known(turn, asked));
            let asked = unknown.map(|asked| (number, Body::Permission(question::record(asked, expires_at))));
            (asked.collect(), ())
        };
        self.session.transact(ask).await
    }

    /// Closes the questions that the agent has withdrawn.
    async fn withdraw(&self, withdrawn: &[String], turn: &TurnState) -> Result<(), RuntimeError> {
        let open = turn.permissions.iter().map(|(permission, _)| &permission.id);
        let closed: Vec<String> = open.filter(|id| withdrawn.contains(id)).cloned().collect();
        if closed.is_empty() {
            return Ok(());
        }
        let answer = move |permission: &Permission| {
            let is_closed = closed.contains(&permission.id);
            is_closed.then(|| (CANCELLED.to_owned(), BY_AGENT))
        };
        self.answer(answer).await
    }

    async fn answer_by_default(&mut self, turn: &TurnState, now: Instant) -> Result<(), RuntimeError> {
        for (permission, _) in &turn.permissions {
            // A server that follows another continues from the time in the journal.
            if let (Some(at), false) = (permission.expires_at, self.limits.contains_key(&permission.id)) {
                let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                self.limits.insert(permission.id.clone(), now + left);
            }
        }
        let due = self.limits.iter().filter(|(_, at)| **at <= now);
        let due: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        if due.is_empty() {
            return Ok(());
        }
        let default = self.session.request().permission_default.unwrap_or_default();
        let answer = move |permission: &Permission| {
            let is_due = due.contains(&permission.id);
            is_due.then(|| (permission.default_option(default).to_owned(), BY_DEFAULT))
        };
        self.answer(answer).await
    }

    /// Answers open questions.
    async fn answer(
        &self,
        answer: impl Fn(&Permission) -> Option<(String, &'static str)> + Send + 'static,
    ) -> Result<(), RuntimeError> {
        let number = self.turn;
        let answers = move |_: &Session, state: &SessionState| {
            let open = state.turn(number).into_iter().flat_map(|turn| &turn.permissions);
            let answers = open.filter_map(|(permission, _)| {
                let (option, by) = answer(permission)?;
                let (id, by) = (permission.id.clone(), by.to_owned());
                Some((
                    number,
                    Body::PermissionAnswer(PermissionAnswer {
                        id,
                        option,
                        by,
                        ..PermissionAnswer::default()
                    }),
                ))
            });
            (answers.collect(), ())
        };
        self.session.transact(answers).await
    }

    /// Sends what is due, or closes the agent's input after it; one exchange at a time.
    fn send(&mut self, due: Vec<u8>, dialog: &DialogState) {
        let closes = due.is_empty() && dialog.closes();
        let waits = self.retry_at.is_some_and(|at| Instant::now() < at);
        let Some(keeper) = self.keeper.as_ref().filter(|_| !waits && !self.closed) else {
            return;
        };
        self.retry_at = None;
        if self.sending.is_some() || (due.is_empty() && !closes) {
            return;
        }
        let request = Request::Input {
            length: len64(&due),
            close: closes,
            at: Some(dialog.written_to()),
        };
        let paths = keeper.paths.clone();
        let exchange = async move { client::ask(&paths, &request, &due, SEND_TIMEOUT).await };
        self.sending = Some(Sending {
            exchange: tokio::spawn(exchange),
            closes,
        });
    }

    /// Waits until what is being sent was taken or refused; for ever where nothing is being sent.
    pub(crate) async fn sent(&mut self) {
        let Some(sending) = &mut self.sending else {
            return pending().await;
        };
        let response = (&mut sending.exchange).await;
        let closes = sending.closes;
        self.sending = None;
        let refusal = response.map(|response| response.map(|response| response.error));
        match refusal {
            Ok(Ok(None)) if !closes => {}
            Ok(Ok(refusal)) if refusal.as_deref().is_none_or(|refusal| refusal == STDIN_NOT_OPEN) => {
                self.closed = true;
                if let Some(keeper) = &self.keeper {
                    keeper.release_stdin();
                }
            }
            // What has been taken meanwhile is in the journal.
            Ok(_) | Err(_) => self.retry_at = Some(Instant::now() + RETRY_DELAY),
        }
    }

    /// When the next timer ends.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let limit = self.limits.values().min().filter(|_| self.interrupted.is_none());
        let grace = self.interrupted.filter(|_| !self.ending);
        let grace = grace.map(|since| since + INTERRUPT_GRACE);
        let opening = self.opening.as_ref().map(|opening| opening.limit);
        [limit.copied(), grace, opening, self.retry_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Adds a time in which the machine was paused to all limits: nobody knows for how much of it, so none of it counts.
    pub(crate) fn extend_limits(&mut self, waited: Duration) {
        self.limits.values_mut().for_each(|at| *at += waited);
        self.interrupted = self.interrupted.map(|since| since + waited);
        if let Some(opening) = &mut self.opening {
            opening.since += waited;
            opening.limit += waited;
        }
    }
}
