//! Which end is the end: the outcome of a turn from its three witnesses.
//!
//! The witnesses are the exit of the agent's process, the final event of its stream (where it has one) and
//! whether we sent a signal. None is enough alone: claude and gemini exit 0 when aborted, gemini answers
//! HTTP 400 with exit 144, and the launchers of npm packages die while their worker goes on.

use serde::{Deserialize, Serialize};

use super::record::{Exited, TurnEnded};

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The agent did what it does and said so.
    Completed,
    /// It ended with an error; `cause` says which.
    Failed,
    /// A caller stopped or interrupted it.
    Cancelled,
    /// It ran into its wall or idle timeout.
    TimedOut,
    /// Nobody can say how it ended.
    Lost,
}

/// Why a turn did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The agent ended with an error of its own.
    AgentError,
    /// The model's provider refused the credentials.
    Auth,
    /// The account has no quota left.
    Quota,
    /// The model's provider is overloaded.
    Overloaded,
    /// The turn took longer than `timeout`.
    Timeout,
    /// The agent wrote nothing for `idle_timeout`.
    IdleTimeout,
    /// A caller interrupted the turn.
    Interrupted,
    /// A caller stopped the turn.
    Stopped,
    /// The agent's program could not be started.
    SpawnFailed,
    /// A setup command failed.
    SetupFailed,
    /// The kernel killed the agent for want of memory.
    OutOfMemory,
    /// The session reached `limits.session_bytes`.
    OutputLimit,
    /// The keeper died, and with it the knowledge of the exit code.
    KeeperLost,
    /// The machine was rebooted while the agent ran.
    HostRestart,
    /// The disk was full.
    DiskFull,
}

/// Why the agent stopped speaking, in ACP's words (<https://agentclientprotocol.com/protocol/prompt-turn>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model finished its answer.
    EndTurn,
    /// The answer reached the model's token limit.
    MaxTokens,
    /// The agent reached its limit of model requests.
    MaxTurnRequests,
    /// The model refused.
    Refusal,
    /// A caller cancelled the turn.
    Cancelled,
}

/// Tokens and money; absent where the agent does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Usage {
    /// Tokens sent to the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens the model wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Input tokens that came from the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Cost in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

impl Usage {
    /// Adds another turn's usage; what neither says stays absent.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| a.or(b).map(|_| a.unwrap_or(0).saturating_add(b.unwrap_or(0)));
        Self {
            input_tokens: add(self.input_tokens, other.input_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            cached_tokens: add(self.cached_tokens, other.cached_tokens),
            cost_usd: self
                .cost_usd
                .or(other.cost_usd)
                .map(|_| self.cost_usd.unwrap_or(0.0) + other.cost_usd.unwrap_or(0.0)),
        }
    }

    /// What came on top of `earlier`: agents that count cumulatively are reported per turn.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let sub = |a: Option<u64>, b: Option<u64>| a.map(|a| a.saturating_sub(b.unwrap_or(0)));
        Self {
            input_tokens: sub(self.input_tokens, earlier.input_tokens),
            output_tokens: sub(self.output_tokens, earlier.output_tokens),
            cached_tokens: sub(self.cached_tokens, earlier.cached_tokens),
            cost_usd: self
                .cost_usd
                .map(|cost| (cost - earlier.cost_usd.unwrap_or(0.0)).max(0.0)),
        }
    }
}

/// The event with which an agent's stream says that the turn is over.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalEvent {
    /// Whether the agent says that all is well, and if not, what went wrong.
    pub outcome: Result<(), Cause>,
    /// Why the model stopped, where the stream says it.
    pub stop_reason: Option<StopReason>,
    /// The final answer.
    pub result: Option<String>,
    /// The error in the agent's words.
    pub error: Option<String>,
    /// Usage as the stream counts it (cumulative for some agents).
    pub usage: Usage,
}

/// What an agent's stream has told so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The agent's own id for its session, once a later turn can resume it. `None` means that the next turn
    /// is a first one again.
    pub agent_session_id: Option<String>,
    /// Whether the last line was in the agent's own stream format.
    pub last_line_known: bool,
    /// The last event that looked final. Not the end of the turn: claude can go on after one and send another.
    pub final_event: Option<FinalEvent>,
    /// Why the turn failed, where no final event says it: gemini reports a missing key on stderr alone.
    pub failure: Option<(Cause, String)>,
    /// Work that the agent announced goes on in the background, or what it brought is being answered: even after a
    /// final event, another one will follow.
    pub busy: bool,
}

/// What is known when the agent's process has gone.
#[derive(Clone, Copy, Debug)]
pub struct Exit<'a> {
    /// The keeper's record.
    pub exited: &'a Exited,
    /// The agent's stream has a final event, so that its absence means failure.
    pub final_expected: bool,
    /// The final event came after the exit: a launcher died, its worker went on, and the exit code is the launcher's.
    pub launcher_died: bool,
}

/// The end of a turn, ready for its `turn_ended` record.
pub type Outcome = TurnEnded;

/// Decides how a turn ended.
pub fn outcome(exit: Exit<'_>, seen: &Observation) -> Outcome {
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
        (_, Some(said)) => Some(said),
        (Status::Completed, None) => Some(StopReason::EndTurn),
        (Status::Failed | Status::TimedOut | Status::Lost, None) => None,
    };
    let error = if status == Status::Completed {
        None
    } else {
        Some(error_text(exit, seen))
    };
    Outcome {
        status,
        cause,
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

fn by_exit_and_final_event(exit: Exit<'_>, seen: &Observation) -> (Status, Option<Cause>) {
    let exited_well = exit.exited.code == Some(0) || exit.launcher_died || exit.exited.lingered;
    match &seen.final_event {
        Some(fin) if exited_well || fin.outcome.is_err() => by_final_event(fin),
        None if exited_well && !exit.final_expected => (Status::Completed, None),
        Some(_) | None => (
            Status::Failed,
            Some(seen.failure.as_ref().map_or(Cause::AgentError, |(cause, _)| *cause)),
        ),
    }
}

fn error_text(exit: Exit<'_>, seen: &Observation) -> String {
    let said = seen.final_event.as_ref().and_then(|fin| fin.error.clone());
    let said = said.or_else(|| seen.failure.as_ref().map(|(_, text)| text.clone()));
    if let Some(error) = exit.exited.error.clone().or(said) {
        return error;
    }
    let how = match (exit.exited.code, &exit.exited.signal) {
        (Some(code), _) => format!("the agent exited with code {code}"),
        (None, Some(signal)) => format!("the agent was killed by {signal}"),
        (None, None) => "how the agent exited is not known".to_owned(),
    };
    let silent = if exit.final_expected && seen.final_event.is_none() {
        " and its stream has no final event"
    } else {
        ""
    };
    format!("{how}{silent}; its output tells more")
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
        let exit = Exit {
            exited,
            final_expected,
            launcher_died: false,
        };
        let out = outcome(
            exit,
            &Observation {
                final_event: fin,
                ..Observation::default()
            },
        );
        (out.status, out.cause)
    }

    #[test]
    fn a_shell_is_judged_by_its_exit_code() {
        assert_eq!(decide(&exited(Some(0), None), false, None), (Status::Completed, None));
        assert_eq!(
            decide(&exited(Some(3), None), false, None),
            (Status::Failed, Some(Cause::AgentError))
        );
    }

    #[test]
    fn exit_0_without_a_final_event_is_no_success_where_one_is_expected() {
        assert_eq!(
            decide(&exited(Some(0), None), true, None),
            (Status::Failed, Some(Cause::AgentError))
        );
    }

    #[test]
    fn a_final_error_beats_exit_0_and_a_bad_exit_beats_a_final_success() {
        let error = FinalEvent {
            outcome: Err(Cause::Auth),
            ..fine()
        };
        assert_eq!(
            decide(&exited(Some(0), None), true, Some(error)),
            (Status::Failed, Some(Cause::Auth))
        );
        assert_eq!(
            decide(&exited(Some(1), None), true, Some(fine())),
            (Status::Failed, Some(Cause::AgentError))
        );
    }

    #[test]
    fn the_signal_we_sent_decides_before_all_else() {
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
    fn a_lost_exit_code_is_forgiven_when_the_stream_tells_the_end() {
        let lost = exited(None, Some(Cause::KeeperLost));
        assert_eq!(decide(&lost, true, Some(fine())), (Status::Completed, None));
        assert_eq!(decide(&lost, true, None), (Status::Lost, Some(Cause::KeeperLost)));
    }

    #[test]
    fn a_dead_launcher_does_not_speak_for_its_worker() {
        let killed = exited(None, None);
        let exit = Exit {
            exited: &killed,
            final_expected: true,
            launcher_died: true,
        };
        let seen = Observation {
            final_event: Some(fine()),
            ..Observation::default()
        };
        assert_eq!(outcome(exit, &seen).status, Status::Completed);
    }
}
