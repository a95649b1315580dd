//! Doing what a conversation says: records for questions and answers, lines to the agent, the end of an interrupt.
//!
//! What is to be done is found in the journal and done once: records under the journal's lock, lines by way of the
//! keeper, which refuses to write what has been written meanwhile. Nothing here is remembered but the moment.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::runtime::RuntimeError;
use crate::runtime::dialog::state::Conversation;
use crate::runtime::launch::prepare::INTERRUPT_GRACE;
use crate::runtime::session::Session;
use crate::runtime::turn::keeper_client;
use crate::runtime::turn::stop;
use crate::runtime::turn::supervisor::Tender;
use promptd_agents::Question;
use promptd_keeper::{Request, Response, STDIN_NOT_OPEN};
use promptd_model::{BY_AGENT, Body, CANCELLED, Cause, Permission, PermissionAnswer, SessionRequest, TurnState, len64};

/// How long a question waits for a caller when the request does not say, in seconds.
const PERMISSION_TIMEOUT: f64 = 600.0;

/// Who answered in place of a caller: the end of the turn that somebody wished for.
const BY_INTERRUPT: &str = "interrupt";

/// Who answered in place of a caller that did not.
const BY_DEFAULT: &str = "default";

/// A keeper that refused, or is being replaced, is asked again after this long.
const SEND_AGAIN: Duration = Duration::from_millis(100);

/// An agent takes its input when it likes.
const SEND_PATIENCE: Duration = Duration::from_hours(24);

/// The most bytes of a question's tool call that its record holds: it is to fit into one read of the journal. What the
/// agent wrote is there in full in any case.
const MAX_TOOL_CALL: usize = 64 << 10;

/// What is kept of a larger one: what it is, and not what is in it.
const SMALL_MEMBERS: [&str; 4] = ["toolCallId", "title", "kind", "status"];

/// The most bytes of a question's title.
const MAX_TITLE: usize = 4 << 10;

/// Our side of a conversation with the agent of one attempt.
pub(crate) struct Talk {
    session: Arc<Session>,
    tender: Option<Arc<Tender>>,
    turn: u32,
    sending: Option<Sending>,
    /// Nothing is sent before.
    again: Option<Instant>,
    /// The agent's standard input is closed.
    closed: bool,
    /// When the agent was interrupted, as far as this server knows.
    interrupted: Option<Instant>,
    /// It did not end by itself, and is being ended.
    ending: bool,
    /// When open questions get their default answer, by the clock that runs: a wall clock is set now and then.
    limits: BTreeMap<String, Instant>,
}

struct Sending {
    exchange: JoinHandle<io::Result<Response>>,
    closes: bool,
}

impl Talk {
    pub(crate) fn new(session: &Arc<Session>, turn: u32, tender: Option<&Arc<Tender>>) -> Self {
        Self {
            session: Arc::clone(session),
            tender: tender.cloned(),
            turn,
            sending: None,
            again: None,
            closed: false,
            interrupted: None,
            ending: false,
            limits: BTreeMap::new(),
        }
    }

    /// Does what is due. The conversation has heard all that is in the journal.
    pub(crate) async fn go_on(
        &mut self,
        conversation: &mut Conversation,
        turn: &TurnState,
    ) -> Result<(), RuntimeError> {
        let wish = self.session.duties().ended_by(self.turn);
        let due = conversation.due();
        if wish == Some(Cause::Interrupted) || conversation.is_interrupted() {
            self.interrupt(conversation, turn).await?;
        } else {
            self.ask(conversation.questions(), turn).await?;
            self.withdraw(conversation.withdrawn(), turn).await?;
            self.answer_by_default(turn).await?;
        }
        // An interrupt has more to say.
        let due = if self.interrupted.is_some() {
            conversation.due()
        } else {
            due
        };
        self.send(due, conversation);
        Ok(())
    }

    async fn interrupt(&mut self, conversation: &mut Conversation, turn: &TurnState) -> Result<(), RuntimeError> {
        if !turn.permissions.is_empty() {
            // In the journal first: a server that follows knows by it that the turn is to end.
            let answer = |_: &Permission| Some((CANCELLED.to_owned(), BY_INTERRUPT));
            self.answer(answer).await?;
        }
        conversation.interrupt();
        let since = *self.interrupted.get_or_insert_with(Instant::now);
        if let Some(tender) = self
            .tender
            .as_ref()
            .filter(|_| !self.ending && since.elapsed() >= INTERRUPT_GRACE)
        {
            self.ending = true;
            stop::end_later(&self.session, tender, Some(Cause::Interrupted), INTERRUPT_GRACE);
        }
        Ok(())
    }

    /// Writes down what the agent asks and the journal does not know of.
    async fn ask(&self, questions: &[Question], turn: &TurnState) -> Result<(), RuntimeError> {
        let unknown: Vec<Question> = questions.iter().filter(|asked| !knows(turn, asked)).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let number = self.turn;
        let ask = move |session: &Session, state: &promptd_model::SessionState| {
            let Some(turn) = state.turn(number).filter(|turn| turn.exited.is_none()) else {
                return (Vec::new(), ());
            };
            let expires_at = Some(expiry(session.request()));
            let unknown = unknown.into_iter().filter(|asked| !knows(turn, asked));
            let asked = unknown.map(|asked| (number, Body::Permission(permission(asked, expires_at))));
            (asked.collect(), ())
        };
        self.session.transact(ask).await
    }

    /// Closes what the agent has taken back.
    async fn withdraw(&self, withdrawn: &[String], turn: &TurnState) -> Result<(), RuntimeError> {
        let open = turn.permissions.iter().map(|(permission, _)| &permission.id);
        let back: Vec<String> = open.filter(|id| withdrawn.contains(id)).cloned().collect();
        if back.is_empty() {
            return Ok(());
        }
        let answer = move |permission: &Permission| {
            let is_back = back.contains(&permission.id);
            is_back.then(|| (CANCELLED.to_owned(), BY_AGENT))
        };
        self.answer(answer).await
    }

    async fn answer_by_default(&mut self, turn: &TurnState) -> Result<(), RuntimeError> {
        let now = Instant::now();
        self.limits
            .retain(|id, _| turn.permissions.iter().any(|(permission, _)| permission.id == *id));
        for (permission, _) in &turn.permissions {
            // A server that follows another counts on from what the journal says.
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
        let answers = move |_: &Session, state: &promptd_model::SessionState| {
            let open = state.turn(number).into_iter().flat_map(|turn| &turn.permissions);
            let answers = open.filter_map(|(permission, _)| {
                let (option, by) = answer(permission)?;
                let (id, by) = (permission.id.clone(), by.to_owned());
                Some((number, Body::PermissionAnswer(PermissionAnswer { id, option, by })))
            });
            (answers.collect(), ())
        };
        self.session.transact(answers).await
    }

    /// Hands over what is due, or the end of all that; one thing at a time.
    fn send(&mut self, due: Vec<u8>, conversation: &Conversation) {
        let closes = due.is_empty() && conversation.closes();
        let waits = self.again.is_some_and(|again| Instant::now() < again);
        let Some(tender) = self.tender.as_ref().filter(|_| !waits && !self.closed) else {
            return;
        };
        self.again = None;
        if self.sending.is_some() || (due.is_empty() && !closes) {
            return;
        }
        let request = Request::Input {
            length: len64(&due),
            close: closes,
            at: Some(conversation.written_to()),
        };
        let paths = tender.paths.clone();
        let exchange = async move { keeper_client::ask(&paths, &request, &due, SEND_PATIENCE).await };
        self.sending = Some(Sending {
            exchange: tokio::spawn(exchange),
            closes,
        });
    }

    /// Waits until what is being sent was taken or refused; for ever where nothing is.
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
                if let Some(tender) = &self.tender {
                    tender.release_stdin();
                }
            }
            // The journal tells what has been taken meanwhile.
            Ok(_) | Err(_) => self.again = Some(Instant::now() + SEND_AGAIN),
        }
    }

    /// When there is something to do that no event announces.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let limit = self.limits.values().min().filter(|_| self.interrupted.is_none());
        let grace = self.interrupted.filter(|_| !self.ending);
        let grace = grace.map(|since| since + INTERRUPT_GRACE);
        [limit.copied(), grace, self.again].into_iter().flatten().min()
    }

    /// The machine was paused while we waited for so long: nobody knows for how much of it, and none of it counts.
    pub(crate) fn was_paused(&mut self, waited: Duration) {
        self.limits.values_mut().for_each(|at| *at += waited);
        self.interrupted = self.interrupted.map(|since| since + waited);
    }
}

fn knows(turn: &TurnState, asked: &Question) -> bool {
    let open = turn.permissions.iter().any(|(permission, _)| permission.id == asked.id);
    open || turn.answers.iter().any(|known| known.0.id == asked.id)
}

fn expiry(request: &SessionRequest) -> Timestamp {
    let timeout = request.permission_timeout.unwrap_or(PERMISSION_TIMEOUT);
    let timeout = SignedDuration::try_from_secs_f64(timeout).unwrap_or(SignedDuration::MAX);
    Timestamp::now().saturating_add(timeout).unwrap_or(Timestamp::MAX)
}

fn permission(asked: Question, expires_at: Option<Timestamp>) -> Permission {
    let mut title = asked.title;
    title.truncate(title.floor_char_boundary(MAX_TITLE));
    let tool_call = asked.tool_call.map(|mut call| {
        let size = serde_json::to_vec(&call).map_or(usize::MAX, |text| text.len());
        if let (true, Value::Object(members)) = (size > MAX_TOOL_CALL, &mut call) {
            members.retain(|name, value| {
                let short = value.as_str().is_some_and(|text| text.len() <= MAX_TITLE);
                short && SMALL_MEMBERS.contains(&name.as_str())
            });
        }
        call
    });
    Permission {
        id: asked.id,
        title,
        options: asked.options,
        tool_call,
        expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_large_tool_call_leaves_its_content_to_the_agents_own_line() {
        let ask = |content: &str| Question {
            id: "1".to_owned(),
            title: "é".repeat(MAX_TITLE),
            options: Vec::new(),
            tool_call: Some(json!({ "toolCallId": "c", "title": "t", "rawInput": { "content": content } })),
        };
        let small = permission(ask("x"), None);
        assert_eq!(small.tool_call.unwrap()["rawInput"]["content"], "x");
        assert_eq!(small.title.len(), MAX_TITLE);
        let large = permission(ask(&"x".repeat(MAX_TOOL_CALL)), None);
        assert_eq!(large.tool_call, Some(json!({ "toolCallId": "c", "title": "t" })));
    }
}
