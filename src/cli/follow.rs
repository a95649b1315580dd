//! Printing a session's records until a turn, or all there is, has come to its end.

use std::io::Write;

use jiff::Timestamp;

use super::client::Client;
use super::error::{CliError, exit};
use super::events::Events;
use super::output::Printer;
use super::wire::TurnEnd;
use crate::journal::{Kind, decode, parse_head};
use crate::model::{Body, SessionStatus};

/// The most characters of an agent's error that are shown.
const MAX_ERROR: usize = 300;

/// When it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// This turn is over.
    Turn(u32),
    /// All turns are over.
    Settled,
    /// This record has been printed.
    Seq(u64),
}

/// What is followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follow<'a> {
    pub(super) client: &'a Client,
    pub(super) session: &'a str,
    pub(super) after: u64,
    pub(super) until: Until,
}

/// Prints, and answers how the last turn that ended did so.
pub(super) async fn follow<Out: Write, Err: Write>(
    follow: Follow<'_>,
    printer: &mut Printer<Out, Err>,
) -> Result<Option<TurnEnd>, CliError> {
    let Follow {
        client,
        session,
        after,
        until,
    } = follow;
    let mut events = Events::new(client, session, after, !matches!(until, Until::Seq(_)));
    let mut seen = Seen::default();
    loop {
        while let Some(lines) = events.next().await? {
            let mut done = false;
            for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                printer.line(line)?;
                done = seen.is_enough(line, until);
                if done {
                    break;
                }
            }
            printer.flush()?;
            if done {
                return Ok(seen.end);
            }
        }
        // The stream has ended: because all is said, or because the server leaves.
        let state = client.session(session).await?;
        let read_all = state.last_seq <= events.after();
        match until {
            Until::Turn(turn) => {
                if let (true, Some(end)) = (read_all, state.turn(turn).and_then(TurnEnd::of_turn)) {
                    return Ok(Some(end));
                }
            }
            Until::Settled if read_all && state.is_settled() => {
                return Ok(seen.end.or_else(|| TurnEnd::of_turn(state.turns.last()?)));
            }
            Until::Seq(seq) if events.after() >= seq => return Ok(seen.end),
            Until::Settled | Until::Seq(_) => {}
        }
        events.pause().await;
    }
}

/// What the records that went by have told.
#[derive(Debug, Default)]
struct Seen {
    started: Option<Timestamp>,
    end: Option<TurnEnd>,
}

impl Seen {
    fn is_enough(&mut self, line: &[u8], until: Until) -> bool {
        let Some(head) = parse_head(line) else { return false };
        if let Kind::Other(name @ ("prompt" | "started" | "turn_ended")) = head.kind {
            self.life(name, line);
        }
        match until {
            Until::Turn(turn) => head.turn == turn && head.kind == Kind::Other("turn_ended"),
            Until::Seq(seq) => head.seq >= seq,
            Until::Settled => false,
        }
    }

    fn life(&mut self, name: &str, line: &[u8]) {
        let Some(record) = decode(line) else { return };
        match (name, record.body) {
            ("prompt", _) => self.started = None,
            // A retry is part of the turn's time.
            ("started", _) => self.started = self.started.or(Some(record.time)),
            (_, Body::TurnEnded(ended)) => {
                let duration = self
                    .started
                    .map(|started| record.time.duration_since(started).as_secs_f64());
                self.end = Some(TurnEnd::of_record(ended, duration));
            }
            _ => {}
        }
    }
}

/// The exit code that says how a turn ended.
pub(super) fn exit_code(end: &TurnEnd) -> u8 {
    match end.status {
        SessionStatus::Completed => exit::DONE,
        SessionStatus::TimedOut => exit::TIMED_OUT,
        SessionStatus::Cancelled => exit::INTERRUPTED,
        SessionStatus::Failed
        | SessionStatus::Lost
        | SessionStatus::Idle
        | SessionStatus::Queued
        | SessionStatus::Running
        | SessionStatus::Waiting => exit::FAILED,
    }
}

/// The last line: `failed (auth) after 2.1 s, $0.0123: the key is not valid`.
pub(super) fn summary(end: &TurnEnd) -> String {
    let status = end.status.name().replace('_', " ");
    let cause = end.cause.and_then(|cause| serde_json::to_value(cause).ok());
    let cause = cause
        .as_ref()
        .and_then(|cause| cause.as_str())
        .map(|cause| format!(" ({cause})"));
    let time = end.duration.map(|seconds| format!(" after {seconds:.1} s"));
    let cost = end
        .usage
        .and_then(|usage| usage.cost_usd)
        .map(|cost| format!(", ${cost:.4}"));
    let error = end.error.as_deref().map(|error| format!(": {}", one_line(error)));
    [Some(status), cause, time, cost, error].into_iter().flatten().collect()
}

/// What an agent says may hold anything; a terminal gets one line without control characters.
fn one_line(text: &str) -> String {
    let chars = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    chars.take(MAX_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cause, Usage};

    fn end(status: SessionStatus) -> TurnEnd {
        TurnEnd {
            status,
            cause: None,
            error: None,
            usage: None,
            duration: None,
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let code = |status| exit_code(&end(status));
        assert_eq!(code(SessionStatus::Completed), 0);
        assert_eq!(code(SessionStatus::Failed), 1);
        assert_eq!(code(SessionStatus::Lost), 1);
        assert_eq!(code(SessionStatus::TimedOut), 124);
        assert_eq!(code(SessionStatus::Cancelled), 130);
    }

    #[test]
    fn the_last_line_tells_status_time_cost_and_error() {
        let usage = Some(Usage {
            cost_usd: Some(0.0123),
            ..Usage::default()
        });
        let end = TurnEnd {
            cause: Some(Cause::Auth),
            error: Some("bad\x1b[31m\nkey".into()),
            usage,
            duration: Some(2.06),
            ..end(SessionStatus::Failed)
        };
        assert_eq!(summary(&end), "failed (auth) after 2.1 s, $0.0123: bad [31m key");
        assert_eq!(summary(&self::end(SessionStatus::TimedOut)), "timed out");
    }

    #[test]
    fn the_time_of_a_turn_runs_from_its_first_start() {
        let line = |seq: u64, second: u8, rest: &str| {
            format!("{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:0{second}.000000Z\",\"turn\":1,{rest}}}")
        };
        let mut seen = Seen::default();
        assert!(!seen.is_enough(line(1, 0, r#""type":"prompt","text":"x""#).as_bytes(), Until::Turn(1)));
        for (seq, second) in [(2, 1), (3, 3)] {
            let started = line(
                seq,
                second,
                r#""type":"started","pid":1,"start_ticks":1,"boot_id":"b","program":"p","attempt":1"#,
            );
            assert!(!seen.is_enough(started.as_bytes(), Until::Turn(1)));
        }
        assert!(seen.is_enough(
            line(4, 5, r#""type":"turn_ended","status":"completed""#).as_bytes(),
            Until::Turn(1)
        ));
        assert_eq!(
            seen.end.map(|end| (end.status, end.duration)),
            Some((SessionStatus::Completed, Some(4.0)))
        );
    }
}
