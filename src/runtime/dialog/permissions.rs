//! Callers' answers to the questions of agents.

use std::sync::Arc;

use crate::runtime::error::RuntimeError;
use crate::runtime::session::handle::Session;
use promptd_model::{AnswerDetails, Body, Permission, PermissionAnswer, PermissionOption, SessionState};

/// Who answered.
const BY_CALLER: &str = "caller";

/// Answers a question of the session's agent with an option: its id, or its kind (then the one that grants least).
/// The same answer again is no error.
pub(crate) async fn answer(
    session: &Arc<Session>,
    permission: String,
    option: String,
    details: AnswerDetails,
) -> Result<PermissionAnswer, RuntimeError> {
    let decide =
        move |session: &Session, state: &SessionState| match decide(session, state, &permission, &option, &details) {
            Ok((answer, Some(turn))) => (vec![(turn, Body::PermissionAnswer(answer.clone()))], Ok(answer)),
            Ok((answer, None)) => (Vec::new(), Ok(answer)),
            Err(error) => (Vec::new(), Err(error)),
        };
    session.transact(decide).await?
}

/// The answer, and the turn under which it is to be written, if it is not in the journal yet.
fn decide(
    session: &Session,
    state: &SessionState,
    id: &str,
    option: &str,
    details: &AnswerDetails,
) -> Result<(PermissionAnswer, Option<u32>), RuntimeError> {
    let not_found = || RuntimeError::PermissionNotFound {
        id: session.id().to_string(),
        permission: id.chars().take(200).collect(),
    };
    let mut open = state.current().into_iter().flat_map(|turn| {
        let open = turn.permissions.iter();
        open.map(|(asked, _)| (turn.turn, asked))
    });
    if let Some((turn, asked)) = open.find(|(_, asked)| asked.id == id) {
        let option = asked.option(option).ok_or_else(|| no_such_option(asked, option))?;
        asked.check(option, details)?;
        let answer = PermissionAnswer {
            id: id.to_owned(),
            option: option.option_id.clone(),
            by: BY_CALLER.to_owned(),
            details: details.clone(),
        };
        return Ok((answer, Some(turn)));
    }
    // A caller that did not get our response tries again, and the turn may have ended by then.
    let mut answers = state.turns.iter().rev().flat_map(|turn| &turn.answers);
    let known = answers.find(|known| known.answer().id == id).ok_or_else(not_found)?;
    let answer = known.answer();
    if answer.by == BY_CALLER && known.is_repeated_by(option, details) {
        return Ok((answer.clone(), None));
    }
    Err(RuntimeError::PermissionAnswered {
        permission: answer.id.clone(),
        option: answer.option.clone(),
        by: answer.by.clone(),
    })
}

fn no_such_option(asked: &Permission, option: &str) -> RuntimeError {
    let name = |option: &PermissionOption| format!("{:?} ({})", option.option_id, option.kind.name());
    let options: Vec<String> = asked.options.iter().map(name).collect();
    RuntimeError::InvalidField {
        field: "option",
        value: format!("{:?}", option.chars().take(200).collect::<String>()),
        hint: format!("the agent offers {}", options.join(", ")),
    }
}
