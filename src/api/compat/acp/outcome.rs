//! The end of a turn as the answer to its `session/prompt`; pure.

use agent_client_protocol_schema::v1::{Error, ErrorCode, PromptResponse, StopReason as AcpStopReason};
use serde_json::json;

use super::message::{meta, rpc_error};
use promptd_model::{Status, StopReason, TurnEnded};

/// The answer to the `session/prompt` of a turn.
pub(super) fn outcome(turn: u32, seq: u64, ended: TurnEnded) -> Result<PromptResponse, Error> {
    let reason = match (ended.status, ended.stop_reason) {
        (Status::Completed, reason) => stop_reason(reason),
        (Status::Cancelled, _) => AcpStopReason::Cancelled,
        // A failure to us, a stop reason to ACP.
        (Status::Failed, Some(StopReason::MaxTurnRequests)) => AcpStopReason::MaxTurnRequests,
        (Status::Failed | Status::TimedOut | Status::Lost, _) => return Err(failure(turn, ended)),
    };
    let about = json!({ "turn": turn, "seq": seq, "usage": ended.usage });
    Ok(PromptResponse::new(reason).meta(meta(about)))
}

fn stop_reason(reason: Option<StopReason>) -> AcpStopReason {
    match reason {
        None | Some(StopReason::EndTurn) => AcpStopReason::EndTurn,
        Some(StopReason::MaxTokens) => AcpStopReason::MaxTokens,
        Some(StopReason::MaxTurnRequests) => AcpStopReason::MaxTurnRequests,
        Some(StopReason::Refusal) => AcpStopReason::Refusal,
        Some(StopReason::Cancelled) => AcpStopReason::Cancelled,
    }
}

fn failure(turn: u32, ended: TurnEnded) -> Error {
    let reason = ended.error.or(ended.result).filter(|text| !text.is_empty());
    let message = reason.clone().unwrap_or_else(|| {
        format!("turn {turn} did not end well; its records tell more: GET /v1/sessions/{{sessionId}}/events")
    });
    let data = json!({ "turn": turn, "status": ended.status, "cause": ended.cause, "error": reason });
    rpc_error(ErrorCode::InternalError, message).data(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptd_model::Cause;

    #[test]
    fn the_end_of_a_turn_is_a_stop_reason_or_an_error() {
        let ended = |status, stop_reason| TurnEnded {
            status,
            cause: Some(Cause::Auth),
            reset_at: None,
            stop_reason,
            result: None,
            error: Some("no key".to_owned()),
            usage: None,
            agent_session_id: None,
        };
        let reason = |status, stop_reason| outcome(1, 9, ended(status, stop_reason)).unwrap().stop_reason;
        assert_eq!(reason(Status::Completed, None), AcpStopReason::EndTurn);
        assert_eq!(
            reason(Status::Completed, Some(StopReason::MaxTurnRequests)),
            AcpStopReason::MaxTurnRequests
        );
        assert_eq!(reason(Status::Cancelled, None), AcpStopReason::Cancelled);
        assert_eq!(
            reason(Status::Failed, Some(StopReason::MaxTurnRequests)),
            AcpStopReason::MaxTurnRequests
        );
        for status in [Status::Failed, Status::TimedOut, Status::Lost] {
            let error = outcome(1, 9, ended(status, None)).unwrap_err();
            assert_eq!((i32::from(error.code), error.message.as_str()), (-32603, "no key"));
            assert_eq!(error.data.unwrap()["cause"], "auth");
        }
    }
}
