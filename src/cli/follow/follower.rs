//! Prints a session's records until a turn or the session has ended.

use std::io::Write;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::activity::Activity;
use super::printer::Printer;
use crate::cli::client::TurnEnd;
use crate::cli::client::{Client, Request, escape, session_path};
use crate::cli::client::{Events, head_of};
use crate::cli::error::{CliError, exit};
use crate::cli::show::option_of_key;
use crate::cli::stdio::print_error;
use crate::cli::terminal;
use promptd_model::{Body, Cause, SessionStatus};
use promptd_model::{RecordKind, decode};

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// This turn has ended.
    Turn(u32),
    /// All turns have ended.
    Settled,
    /// This record has been printed.
    Seq(u64),
}

/// What to follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Follow<'a> {
    pub(crate) client: &'a Client,
    pub(crate) session: &'a str,
    pub(crate) after: u64,
    pub(crate) until: Until,
}

/// Prints records, and returns how the last turn ended.
pub(crate) async fn follow<Out: Write, Err: Write>(
    what: Follow<'_>,
    printer: &mut Printer<Out, Err>,
) -> Result<Option<TurnEnd>, CliError> {
    let end = print_until(what, printer).await;
    terminal::leave();
    let end = end?;
    printer.finish()?;
    Ok(end)
}

async fn print_until<Out: Write, Err: Write>(
    what: Follow<'_>,
    printer: &mut Printer<Out, Err>,
) -> Result<Option<TurnEnd>, CliError> {
    let Follow {
        client,
        session,
        after,
        until,
    } = what;
    let mut events = Events::new(client, session, after, !matches!(until, Until::Seq(_)), printer.view());
    let mut activity = Activity::new(printer.show());
    let mut seen = Seen::default();
    loop {
        while let Some(lines) = next(&mut events, printer, &mut activity, what).await? {
            let mut is_done = false;
            for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                printer.line(line)?;
                is_done = seen.observe(line, until);
                if is_done {
                    break;
                }
            }
            printer.flush()?;
            activity.reset();
            if printer.show().is_none_or(|show| show.question().is_none()) {
                terminal::leave();
            }
            if is_done {
                return Ok(seen.end);
            }
        }
        // The stream has ended: all records were read, or the server stops.
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

/// The next lines. Until they come, draws the activity line and answers questions by keys.
async fn next<Out: Write, Err: Write>(
    events: &mut Events<'_>,
    printer: &Printer<Out, Err>,
    activity: &mut Activity,
    what: Follow<'_>,
) -> Result<Option<Bytes>, CliError> {
    let lines = events.next();
    tokio::pin!(lines);
    let Some(show) = printer.show() else { return lines.await };
    loop {
        let question = show.question().filter(|_| show.style().keys);
        let keys = tokio::select! {
            biased;
            lines = &mut lines => return lines,
            keys = activity.key_or_tick(question.is_some()) => keys,
        };
        let Some(keys) = keys else {
            activity.draw(show);
            continue;
        };
        let chosen = question.and_then(|question| {
            let option = keys.iter().find_map(|key| option_of_key(question, *key))?;
            Some((question, option))
        });
        if let Some((question, option)) = chosen {
            match answer(what.client, what.session, &question.id, json!({ "option": option })).await {
                // It was answered meanwhile; a record says so.
                Ok(()) | Err(CliError::Refused { status: 404 | 409, .. }) => {}
                Err(error) => print_error(&error),
            }
        }
    }
}

/// Answers a permission question.
pub(crate) async fn answer(client: &Client, session: &str, question: &str, answer: Value) -> Result<(), CliError> {
    let path = session_path(session, &format!("/permissions/{}", escape(question)));
    client
        .send(&Request::post(path, answer.to_string().into_bytes()))
        .await?;
    Ok(())
}

/// What the records so far say about the turn.
#[derive(Debug, Default)]
struct Seen {
    started: Option<Timestamp>,
    exit_code: Option<i32>,
    end: Option<TurnEnd>,
}

impl Seen {
    /// Takes the next record; returns whether it is the last one to print.
    fn observe(&mut self, line: &[u8], until: Until) -> bool {
        let Some(head) = head_of(line) else { return false };
        if let RecordKind::Other(name @ ("started" | "exited" | "turn_ended")) = head.kind {
            self.observe_turn(name, line);
        }
        match until {
            Until::Turn(turn) => head.turn == turn && head.kind == RecordKind::Other("turn_ended"),
            Until::Seq(seq) => head.seq >= seq,
            Until::Settled => false,
        }
    }

    fn observe_turn(&mut self, name: &str, line: &[u8]) {
        let Some(record) = decode(line) else { return };
        match (name, record.body) {
            // The turn's duration includes retries.
            ("started", _) => self.started = self.started.or(Some(record.time)),
            // Of several attempts, the last one counts.
            (_, Body::Exited(exited)) => self.exit_code = exited.code,
            (_, Body::TurnEnded(ended)) => {
                let started = self.started.take();
                let duration = started.map(|started| record.time.duration_since(started).as_secs_f64());
                self.end = Some(TurnEnd::of_record(ended, self.exit_code.take(), duration));
            }
            _ => {}
        }
    }
}

/// The exit code of a command that failed by itself, where it does not mean something else to the caller of ours.
pub(crate) fn exit_code_of_command(end: &TurnEnd) -> Option<u8> {
    let failed = end.status == SessionStatus::Failed && end.cause == Some(Cause::AgentError);
    let code = end
        .exit_code
        .filter(|_| failed)
        .and_then(|code| u8::try_from(code).ok());
    code.filter(|code| (1..exit::TIMED_OUT).contains(code))
}

/// The exit code that says how a turn ended.
pub(crate) fn exit_code(end: &TurnEnd) -> u8 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn end(status: SessionStatus) -> TurnEnd {
        TurnEnd {
            status,
            cause: None,
            error: None,
            exit_code: None,
            usage: None,
            duration: None,
        }
    }

    #[test]
    fn exit_code_says_how_the_turn_ended() {
        let code = |status| exit_code(&end(status));
        assert_eq!(code(SessionStatus::Completed), 0);
        assert_eq!(code(SessionStatus::Failed), 1);
        assert_eq!(code(SessionStatus::Lost), 1);
        assert_eq!(code(SessionStatus::TimedOut), 124);
        assert_eq!(code(SessionStatus::Cancelled), 130);
    }

    #[test]
    fn command_that_failed_by_itself_has_its_own_exit_code() {
        let code = |status, cause, exit_code| {
            exit_code_of_command(&TurnEnd {
                cause,
                exit_code,
                ..end(status)
            })
        };
        let failed = |exit_code| code(SessionStatus::Failed, Some(Cause::AgentError), exit_code);
        assert_eq!(
            (failed(Some(1)), failed(Some(42)), failed(Some(123))),
            (Some(1), Some(42), Some(123))
        );
        assert_eq!((failed(Some(124)), failed(Some(255)), failed(None)), (None, None, None));
        assert_eq!(code(SessionStatus::Completed, None, Some(0)), None);
        assert_eq!(code(SessionStatus::TimedOut, Some(Cause::Timeout), Some(7)), None);
        assert_eq!(code(SessionStatus::Failed, Some(Cause::SetupFailed), Some(7)), None);
    }

    #[test]
    fn duration_includes_all_attempts() {
        let line = |seq: u64, second: u8, rest: &str| {
            format!("{{\"seq\":{seq},\"time\":\"2026-11-21T02:40:0{second}.000000Z\",\"turn\":1,{rest}}}")
        };
        let mut seen = Seen::default();
        assert!(!seen.observe(line(1, 0, r#""type":"prompt","text":"x""#).as_bytes(), Until::Turn(1)));
        for (seq, second) in [(2, 1), (3, 3)] {
            let started = line(
                seq,
                second,
                r#""type":"started","pid":1,"start_ticks":1,"boot_id":"b","program":"p","attempt":1"#,
            );
            assert!(!seen.observe(started.as_bytes(), Until::Turn(1)));
        }
        assert!(seen.observe(
            line(4, 5, r#""type":"turn_ended","status":"completed""#).as_bytes(),
            Until::Turn(1)
        ));
        assert_eq!(
            seen.end.map(|end| (end.status, end.duration)),
            Some((SessionStatus::Completed, Some(4.0)))
        );
    }
}
