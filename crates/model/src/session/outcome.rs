//! Decides how a turn ended.
//!
//! There are three pieces of evidence: the exit of the agent's process, the final event of its output (if its
//! format has one), and whether promptd sent a signal. None is enough alone: claude and gemini exit with 0 when
//! aborted, gemini exits with 144 after an HTTP 400, and the launcher of an npm package can die before its worker.
//! If the agent has given its final result, that decides: claude exits with 1 after a success if one of its hooks fails.

use super::reset::Reset;
use crate::record::{Cause, Exited, Status, StopReason, TurnEnded, Usage};

/// The event in an agent's output that marks the end of the turn.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalEvent {
    /// Success, or why the turn failed.
    pub outcome: Result<(), Cause>,
    /// Why the model stopped, if the event says so.
    pub stop_reason: Option<StopReason>,
    /// The final answer.
    pub result: Option<String>,
    /// The agent's error message.
    pub error: Option<String>,
    /// Usage as reported (cumulative for some agents).
    pub usage: Usage,
}

/// What the agent's output has shown so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The agent's own session id, once a later turn can resume that session. With `None` the next turn starts a
    /// new session of the agent.
    pub agent_session_id: Option<String>,
    /// The same id as soon as the agent has named it, for agents that cannot resume the session yet.
    pub announced_session_id: Option<String>,
    /// Whether the last line was valid in the agent's output format.
    pub last_line_known: bool,
    /// The last final event. It is not always the end of the turn: claude can continue and send another one.
    pub final_event: Option<FinalEvent>,
    /// Why the turn failed, if no final event says so: gemini reports a missing key only on stderr.
    pub failure: Option<(Cause, String)>,
    /// When a quota that is used up is full again, if the agent reports it as data.
    pub reset: Option<Reset>,
    /// Background work is still running, or its result is still being processed: another final event will follow,
    /// even if there has been one.
    pub busy: bool,
}

/// What is known about the exit of the agent's process.
#[derive(Clone, Copy, Debug)]
pub struct ExitEvidence<'a> {
    /// The keeper's record.
    pub exited: &'a Exited,
    /// The agent's output format has a final event, so a missing one means failure.
    pub final_expected: bool,
    /// The final event came after the exit: the exit code is that of a launcher whose worker kept running.
    pub launcher_died: bool,
}

/// Decides how a turn ended: the content of its `turn_ended` record.
pub fn decide_outcome(exit: ExitEvidence<'_>, seen: &Observation) -> TurnEnded {
    let fin = seen.final_event.as_ref();
    let (status, cause) = match exit.exited.cause {
        Some(cause @ (Cause::Stopped | Cause::Interrupted)) => (Status::Cancelled, Some(cause)),
        Some(cause @ (Cause::Timeout | Cause::IdleTimeout)) => (Status::TimedOut, Some(cause)),
        Some(cause @ (Cause::KeeperLost | Cause::HostRestart)) => match fin {
            Some(fin) => by_final_event(fin),
            None => (Status::Lost, Some(cause)),
        },
        Some(cause) => (Status::Failed, Some(cause)),
        None => by_exit_and_final_event(exit, seen),
    };
    let stop_reason = match (status, fin.and_then(|fin| fin.stop_reason)) {
        (Status::Cancelled, _) => Some(StopReason::Cancelled),
        (_, Some(reported)) => Some(reported),
        (Status::Completed, None) => Some(StopReason::EndTurn),
        (Status::Failed | Status::TimedOut | Status::Lost, None) => None,
    };
    let error = if status == Status::Completed {
        None
    } else {
        Some(error_text(exit, seen))
    };
    TurnEnded {
        status,
        cause,
        reset_at: None,
        stop_reason,
        result: fin.and_then(|fin| fin.result.clone()),
        error,
        usage: fin.map(|fin| fin.usage),
        agent_session_id: seen.agent_session_id.clone(),
    }
}

fn by_final_event(fin: &FinalEvent) -> (Status, Option<Cause>) {
    match fin.outcome {
        Ok(()) => (Status::Completed, None),
        Err(cause) => (Status::Failed, Some(cause)),
    }
}

fn by_exit_and_final_event(exit: ExitEvidence<'_>, seen: &Observation) -> (Status, Option<Cause>) {
    let exited_successfully = exit.exited.code == Some(0) || exit.launcher_died || exit.exited.lingered;
    match &seen.final_event {
        // Still busy, it had more to say, and its end is no end of a turn.
        Some(fin) if exited_successfully || fin.outcome.is_err() || !seen.busy => by_final_event(fin),
        None if exited_successfully && !exit.final_expected => (Status::Completed, None),
        Some(_) | None => (
            Status::Failed,
            Some(seen.failure.as_ref().map_or(Cause::AgentError, |(cause, _)| *cause)),
        ),
    }
}

fn error_text(exit: ExitEvidence<'_>, seen: &Observation) -> String {
    let reported = seen.final_event.as_ref().and_then(|fin| fin.error.clone());
    let reported = reported.or_else(|| seen.failure.as_ref().map(|(_, text)| text.clone()));
    if let Some(error) = exit.exited.error.clone().or(reported) {
        return error;
    }
    let exit_text = match (exit.exited.code, &exit.exited.signal) {
        (Some(code), _) => format!("the agent exited with code {code}"),
        (None, Some(signal)) => format!("the agent was killed by {signal}"),
        (None, None) => "how the agent exited is not known".to_owned(),
    };
    let missing = if exit.final_expected && seen.final_event.is_none() {
        " and its stream has no final event"
    } else {
        ""
    };
    format!("{exit_text}{missing}; its output tells more")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: Option<i32>, cause: Option<Cause>) -> Exited {
        Exited {
            code,
            cause,
            ..Exited::default()
        }
    }

    fn fine() -> FinalEvent {
        FinalEvent {
            outcome: Ok(()),
            stop_reason: None,
            result: None,
            error: None,
            usage: Usage::default(),
        }
    }

    fn decide(exited: &Exited, final_expected: bool, fin: Option<FinalEvent>) -> (Status, Option<Cause>) {
        let exit = ExitEvidence {
            exited,
            final_expected,
            launcher_died: false,
        };
        let out = decide_outcome(
            exit,
            &Observation {
                final_event: fin,
                ..Observation::default()
            },
        );
        (out.status, out.cause)
    }

    #[test]
    fn without_final_event_exit_code_decides() {
        assert_eq!(decide(&exited(Some(0), None), false, None), (Status::Completed, None));
        assert_eq!(
            decide(&exited(Some(3), None), false, None),
            (Status::Failed, Some(Cause::AgentError))
        );
    }

    #[test]
    fn missing_final_event_means_failure_if_expected() {
        assert_eq!(
            decide(&exited(Some(0), None), true, None),
            (Status::Failed, Some(Cause::AgentError))
        );
    }

    #[test]
    fn an_error_in_the_final_event_means_failure() {
        let error = FinalEvent {
            outcome: Err(Cause::Auth),
            ..fine()
        };
        assert_eq!(
            decide(&exited(Some(0), None), true, Some(error)),
            (Status::Failed, Some(Cause::Auth))
        );
    }

    #[test]
    fn the_final_result_counts_more_than_the_exit_code() {
        let killed = Exited {
            signal: Some("SIGSEGV".to_owned()),
            ..exited(None, None)
        };
        for exit in [exited(Some(1), None), exited(Some(130), None), killed] {
            assert_eq!(decide(&exit, true, Some(fine())), (Status::Completed, None));
        }
        let busy = Observation {
            final_event: Some(fine()),
            busy: true,
            ..Observation::default()
        };
        for (code, status) in [(0, Status::Completed), (1, Status::Failed)] {
            let exit = ExitEvidence {
                exited: &exited(Some(code), None),
                final_expected: true,
                launcher_died: false,
            };
            assert_eq!(decide_outcome(exit, &busy).status, status);
        }
    }

    #[test]
    fn stop_and_timeout_override_other_evidence() {
        assert_eq!(
            decide(&exited(Some(0), Some(Cause::Stopped)), true, Some(fine())).0,
            Status::Cancelled
        );
        assert_eq!(
            decide(&exited(Some(0), Some(Cause::Timeout)), true, Some(fine())).0,
            Status::TimedOut
        );
    }

    #[test]
    fn final_event_decides_if_exit_code_is_lost() {
        let lost = exited(None, Some(Cause::KeeperLost));
        assert_eq!(decide(&lost, true, Some(fine())), (Status::Completed, None));
        assert_eq!(decide(&lost, true, None), (Status::Lost, Some(Cause::KeeperLost)));
    }

    #[test]
    fn killed_launcher_does_not_fail_its_worker() {
        let killed = exited(None, None);
        let exit = ExitEvidence {
            exited: &killed,
            final_expected: true,
            launcher_died: true,
        };
        let seen = Observation {
            final_event: Some(fine()),
            ..Observation::default()
        };
        assert_eq!(decide_outcome(exit, &seen).status, Status::Completed);
    }
}
