//! `promptd ps`: lists sessions.

use clap::Args;
use jiff::Timestamp;

use crate::cli::client::{Client, Request, escape};
use crate::cli::client::{Session, SessionPage, Sink};
use crate::cli::error::{CliError, exit};
use crate::cli::stdio::print;
use crate::cli::terminal::{Cell, Paint, render};
use promptd_model::SessionStatus;

const AFTER_HELP: &str = "\
Examples:
  promptd ps                                    newest first
  promptd ps --status running
  promptd ps --json | jq -r '.[].id'
  PROMPTD_TOKEN=… promptd --url https://8080-id.e2b.app ps";

/// List sessions
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct PsArgs {
    /// Print the session objects as a JSON list
    #[arg(long)]
    json: bool,
    /// Only sessions with this status, such as running or failed
    #[arg(long)]
    status: Option<String>,
    /// Only sessions of this agent
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
}

pub(super) async fn ps(client: &Client, args: &PsArgs, colours: bool) -> Result<u8, CliError> {
    let sessions = sessions(client, args).await?;
    let text = if args.json {
        let text = serde_json::to_string_pretty(&sessions).map_err(|error| CliError::BadAnswer(error.to_string()))?;
        format!("{text}\n")
    } else {
        table(sessions, Timestamp::now(), colours)?
    };
    print(&text)?;
    Ok(exit::DONE)
}

async fn sessions(client: &Client, args: &PsArgs) -> Result<Vec<serde_json::Value>, CliError> {
    let mut sessions = Vec::new();
    let mut cursor = None;
    loop {
        let filters = [("status", &args.status), ("agent", &args.agent), ("cursor", &cursor)];
        let query: Vec<_> = filters
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", escape(value.as_deref()?))))
            .collect();
        let page: SessionPage = client
            .json(&Request::get(format!("/v1/sessions?{}", query.join("&"))))
            .await?;
        sessions.extend(page.sessions);
        // The same cursor again would never end.
        if page.next.is_none() || page.next == cursor {
            return Ok(sessions);
        }
        cursor = page.next;
    }
}

fn table(sessions: Vec<serde_json::Value>, now: Timestamp, colours: bool) -> Result<String, CliError> {
    let rows = sessions.into_iter().map(|session| {
        let session: Session =
            serde_json::from_value(session).map_err(|error| CliError::BadAnswer(error.to_string()))?;
        let turn = session
            .turns
            .last()
            .map_or_else(|| "-".to_owned(), |turn| turn.number.to_string());
        let status = Cell {
            text: session.status.name().to_owned(),
            paint: Some(paint(session.status)),
        };
        let age = age(now.duration_since(session.created_at).as_secs());
        Ok([
            session.id.into(),
            session.agent.into(),
            status,
            turn.into(),
            age.into(),
            session.last_seq.to_string().into(),
            delivery(&session.sinks),
        ])
    });
    let rows = rows.collect::<Result<Vec<_>, CliError>>()?;
    Ok(render(
        ["ID", "AGENT", "STATUS", "TURN", "AGE", "LAST-SEQ", "DELIVERY"],
        &rows,
        colours,
    ))
}

/// The state of the sink that is furthest behind.
fn delivery(sinks: &[Sink]) -> Cell {
    let rank = |sink: &&Sink| {
        ["idle", "delivering", "retrying", "paused"]
            .iter()
            .position(|state| *state == sink.state)
    };
    let Some(worst) = sinks.iter().max_by_key(rank) else {
        return "-".to_owned().into();
    };
    let behind = sinks.iter().map(|sink| sink.lag_records).max().unwrap_or(0);
    let (text, paint) = match worst.state.as_str() {
        "idle" if behind == 0 => ("all".to_owned(), Paint::Good),
        "idle" | "delivering" => (format!("{behind} behind"), Paint::Busy),
        state => (format!("{state}, {behind} behind"), Paint::Bad),
    };
    let paint = Some(paint);
    Cell { text, paint }
}

fn paint(status: SessionStatus) -> Paint {
    match status {
        SessionStatus::Completed => Paint::Good,
        SessionStatus::Failed | SessionStatus::TimedOut | SessionStatus::Lost => Paint::Bad,
        SessionStatus::Queued | SessionStatus::Running | SessionStatus::Waiting => Paint::Busy,
        SessionStatus::Idle | SessionStatus::Cancelled => Paint::Faint,
    }
}

/// Seconds as a number and a unit. Negative if the clock was set back.
fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_a_number_and_a_unit() {
        let ages = [-5, 0, 99, 100, 5_999, 6_000, 172_799, 172_800].map(age);
        assert_eq!(ages, ["0s", "0s", "99s", "1m", "99m", "1h", "47h", "2d"]);
    }

    #[test]
    fn each_session_is_a_row() {
        let session = serde_json::json!({"id": "s", "agent": "shell", "status": "timed_out", "last_seq": 9, "created_at": "2026-11-21T02:40:00Z",
            "turns": [{"turn": 1, "status": "completed"}, {"turn": 2, "status": "timed_out"}], "metadata": {},
            "sinks": [{"state": "idle", "lag_records": 0}, {"state": "paused", "lag_records": 7}, {"state": "retrying", "lag_records": 2}]});
        let now = "2026-11-21T02:41:00Z".parse().unwrap();
        let table = table(vec![session], now, false).unwrap();
        assert_eq!(
            table,
            "ID  AGENT  STATUS     TURN  AGE  LAST-SEQ  DELIVERY\ns   shell  timed_out  2     60s  9         paused, 7 behind\n"
        );
    }
}
