//! The outcome of a turn, beyond what its exit and the agent's output say.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use promptd_agents::{Format, find_reset};
use promptd_model::{
    Body, Cause, ExitEvidence, Exited, MAX_RESULT, Observation, Status, TurnEnded, Usage, decide_outcome,
};

/// The end of a turn that was cancelled before it ran.
pub(crate) fn cancelled(cause: Cause) -> Body {
    let exited = Exited {
        cause: Some(cause),
        error: Some("it was cancelled before it ran".to_owned()),
        ..Exited::default()
    };
    let exit = ExitEvidence {
        exited: &exited,
        final_expected: false,
        launcher_died: false,
    };
    Body::TurnEnded(decide_outcome(exit, &Observation::default()))
}

/// Limits the answer's size, and makes the usage of the agent's whole session the turn's own.
pub(crate) fn limit(mut out: TurnEnded, format: Option<&Format>, seen: &Observation, earlier: &Usage) -> TurnEnded {
    if let Some(result) = &mut out.result {
        result.truncate(result.floor_char_boundary(MAX_RESULT));
    }
    if seen.usage_is_cumulative || format.is_some_and(|format| format.usage_is_cumulative) {
        out.usage = out.usage.map(|usage| usage.since(*earlier));
    }
    out
}

/// Fails a turn whose agent was to resume one session and began another: it knows nothing of the turns before. The
/// session keeps the id under which its past is found.
pub(crate) fn check_resumed(mut out: TurnEnded, asked: Option<&str>) -> TurnEnded {
    let Some(asked) = asked else {
        // An agent that had nothing to resume misses something else.
        if out.cause == Some(Cause::ConversationLost) {
            out.cause = Some(Cause::AgentError);
        }
        return out;
    };
    let other = out.agent_session_id.take().filter(|id| id != asked);
    out.agent_session_id = Some(asked.to_owned());
    if let (Some(other), Status::Completed) = (other, out.status) {
        out.status = Status::Failed;
        out.cause = Some(Cause::ConversationLost);
        out.error = Some(format!(
            "the agent was to resume its session {asked:?} and began another, {other:?}, without the turns before; \
             prompt again with \"fresh\": true if its past is lost"
        ));
    }
    out
}

/// Adds when the quota is full again: as the agent reports it, else as its error says it.
pub(crate) fn with_reset(mut out: TurnEnded, seen: &Observation, now: Timestamp) -> TurnEnded {
    if out.cause == Some(Cause::Quota) {
        let said = || find_reset(out.error.as_deref()?);
        let reset = seen.reset.clone().or_else(said);
        out.reset_at = reset.and_then(|reset| reset.moment(now, &TimeZone::system()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, id: Option<&str>) -> TurnEnded {
        let exited = Exited {
            code: Some(code),
            ..Exited::default()
        };
        let seen = Observation {
            agent_session_id: id.map(str::to_owned),
            ..Observation::default()
        };
        decide_outcome(
            ExitEvidence {
                exited: &exited,
                final_expected: false,
                launcher_died: false,
            },
            &seen,
        )
    }

    #[test]
    fn an_agent_that_began_another_session_has_failed() {
        let out = check_resumed(ended(0, Some("new")), Some("old"));
        assert_eq!((out.status, out.cause), (Status::Failed, Some(Cause::ConversationLost)));
        assert!(out.error.unwrap().contains("\"new\""));
        assert_eq!(out.agent_session_id.as_deref(), Some("old"));
    }

    #[test]
    fn an_agent_that_resumed_as_asked_has_not_failed() {
        for (seen, asked) in [
            (Some("old"), Some("old")),
            (Some("new"), None),
            // It did not name its session: the known id stays.
            (None, Some("old")),
        ] {
            let out = check_resumed(ended(0, seen), asked);
            assert_eq!(out.status, Status::Completed);
            assert_eq!(out.agent_session_id.as_deref(), asked.or(seen));
        }
        let out = check_resumed(ended(3, Some("new")), Some("old"));
        assert_eq!(
            out.error.unwrap(),
            "the agent exited with code 3; its output tells more"
        );
    }
}
