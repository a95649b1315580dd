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
#[expect(clippy::struct_excessive_bools, reason = "each is one independent fact")]
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
    /// The agent tries again after `failure`, and has done nothing else since. If its time runs out, that is why.
    pub retrying: bool,
    /// What it means if the process exits with an error before its first line: droid does so without its maker's server.
    pub silent_failure: Option<(Cause, String)>,
    /// When a quota that is used up is full again, if the agent reports it as data.
    pub reset: Option<Reset>,
    /// The agent has refused to start with a file as its standard output.
    pub needs_pipe: bool,
    /// The usage counts all turns of the conversation, as some agents of a shared format do.
    pub usage_is_cumulative: bool,
    /// Background work is still running, or its result is still being processed: another final event will follow,
    /// even if there has been one.
    pub busy: bool,
}

impl Observation {
    /// The agent failed, and tries again by itself.
    pub fn note_retry(&mut self, cause: Cause, error: String) {
        self.failure = Some((cause, error));
        self.retrying = true;
    }

    /// The agent went on: what failed before is not why the turn ends.
    pub fn clear_failure(&mut self) {
        self.failure = None;
        self.retrying = false;
    }
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
        Some(cause @ (Cause::Timeout | Cause::IdleTimeout)) => (Status::TimedOut, Some(retried(seen).unwrap_or(cause))),
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
    let error = match status {
        Status::Completed => None,
        // What the agent says about its end is no fault then.
        Status::Cancelled => exit.exited.error.clone(),
        Status::Failed | Status::TimedOut | Status::Lost => Some(error_text(exit, seen)),
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

/// Why the agent was trying again when its time ran out.
fn retried(seen: &Observation) -> Option<Cause> {
    let (cause, _) = seen.failure.as_ref().filter(|_| seen.retrying)?;
    Some(*cause).filter(|cause| *cause != Cause::AgentError)
}

/// Why a process failed that gave no final result.
fn failure<'a>(exit: ExitEvidence<'_>, seen: &'a Observation) -> Option<&'a (Cause, String)> {
    let exited_with_error = exit.exited.code.is_some_and(|code| code != 0);
    let silent = seen.silent_failure.as_ref().filter(|_| exited_with_error);
    seen.failure.as_ref().or(silent)
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
            Some(failure(exit, seen).map_or(Cause::AgentError, |(cause, _)| *cause)),
        ),
    }
}

fn error_text(exit: ExitEvidence<'_>, seen: &Observation) -> String {
    let reported = seen.final_event.as_ref().and_then(|fin| fin.error.clone());
    let reported = reported.or_else(|| failure(exit, seen).map(|(_, text)| text.clone()));
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
    fn time_that_ran_out_while_retrying_has_the_cause_of_the_retries() {
        let mut seen = Observation::default();
        let decided = |seen: &Observation, cause| {
            let exit = ExitEvidence {
                exited: &exited(None, Some(cause)),
                final_expected: true,
                launcher_died: false,
            };
            let out = decide_outcome(exit, seen);
            (out.status, out.cause, out.error)
        };
        seen.note_retry(Cause::Auth, "401".to_owned());
        for limit in [Cause::Timeout, Cause::IdleTimeout] {
            let expected = (Status::TimedOut, Some(Cause::Auth), Some("401".to_owned()));
            assert_eq!(decided(&seen, limit), expected);
        }
        assert_eq!(decided(&seen, Cause::Stopped).1, Some(Cause::Stopped));
        // A reason that says nothing, a failure that is not being retried, and an agent that went on.
        seen.note_retry(Cause::AgentError, "400".to_owned());
        assert_eq!(decided(&seen, Cause::Timeout).1, Some(Cause::Timeout));
        seen.clear_failure();
        seen.failure = Some((Cause::Network, "a warning".to_owned()));
        assert_eq!(decided(&seen, Cause::Timeout).1, Some(Cause::Timeout));
        seen.note_retry(Cause::Auth, "401".to_owned());
        seen.clear_failure();
        assert_eq!(decided(&seen, Cause::Timeout).1, Some(Cause::Timeout));
    }

    #[test]
    fn silent_exit_with_an_error_has_the_reason_that_is_known_for_it() {
        let seen = Observation {
            silent_failure: Some((Cause::Network, "no server".to_owned())),
            ..Observation::default()
        };
        for (code, cause, words) in [
            (Some(1), Cause::Network, "no server"),
            (Some(0), Cause::AgentError, "code 0"),
            (None, Cause::AgentError, "not known"),
        ] {
            let exit = ExitEvidence {
                exited: &exited(code, None),
                final_expected: true,
                launcher_died: false,
            };
            let out = decide_outcome(exit, &seen);
            assert_eq!(out.cause, Some(cause));
            assert!(out.error.unwrap().contains(words));
        }
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
