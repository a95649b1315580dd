//! Records of a session that are not output: progress of turns, and permission questions.

use super::question;
use super::state::{Block, Show};
use crate::cli::terminal::{clip, one_line, seconds};
use promptd_model::{Body, Permission};

impl Show {
    pub(super) fn record(&mut self, body: Body) {
        match body {
            Body::Setup(setup) => {
                self.is_setup = true;
                let text = format!("setup {} of {}: {}", setup.step, setup.of, one_line(&setup.command));
                self.notice(&clip(&text, self.style.width));
            }
            Body::Started(_) => self.is_setup = false,
            Body::Retry { stdout: Some(_), .. } => {
                self.end_turn();
                self.notice("the agent refuses a file as its standard output; it is started again with a pipe");
            }
            Body::Retry {
                attempt, delay, cause, ..
            } => {
                self.end_turn();
                let cause = serde_json::to_value(cause).unwrap_or_default();
                let cause = cause.as_str().unwrap_or_default();
                self.notice(&format!("failed ({cause}); attempt {attempt} begins in {delay} s"));
            }
            Body::Frozen { reason } => self.notice(&format!("frozen: {}", one_line(&reason))),
            Body::Thawed { reason } => self.notice(&format!("goes on: {}", one_line(&reason))),
            Body::Gap(gap) => self.notice(&format!(
                "{} bytes of {} are missing: {}",
                gap.bytes,
                one_line(&gap.stream),
                one_line(&gap.reason)
            )),
            Body::Resumed { away, .. } => self.notice(&format!("the sandbox was away for {}", seconds(away))),
            Body::Forgotten { turns } => self.notice(&forgotten(&turns)),
            Body::Permission(question) => self.ask(question),
            Body::PermissionAnswer(answer) => {
                let first = self.questions.front().is_some_and(|question| question.id == answer.id);
                self.questions.retain(|question| question.id != answer.id);
                let by = if answer.by == "caller" {
                    String::new()
                } else {
                    format!(" (by {})", one_line(&answer.by))
                };
                self.lines(&[format!("  → {}{}", one_line(&answer.option), by)]);
                if let Some(next) = self.questions.front().filter(|_| first && self.style.keys) {
                    let lines = question::with_keys(next, false, &self.style);
                    self.lines(&lines);
                }
            }
            Body::Exited(_) => self.end_turn(),
            Body::TurnEnded(_) => {
                self.end_turn();
                self.enter(Block::Nothing);
            }
            _ => {}
        }
    }

    /// Forgets running calls and open questions.
    fn end_turn(&mut self) {
        self.questions.clear();
        self.tools.clear();
        self.plan.clear();
        self.shown.clear();
    }

    fn ask(&mut self, question: Permission) {
        if !self.style.keys {
            let text = question::with_command(&question, &self.session);
            self.notice(&text);
        } else if self.questions.is_empty() {
            let is_shown = self.block == Block::Lines && self.tools.has_just_shown(&question.title);
            let lines = question::with_keys(&question, is_shown, &self.style);
            self.lines(&lines);
        }
        self.questions.push_back(question);
    }
}

fn forgotten(turns: &[u32]) -> String {
    let numbers: Vec<String> = turns.iter().map(u32::to_string).collect();
    let (what, them) = if turns.len() == 1 {
        ("turn", "it")
    } else {
        ("turns", "them")
    };
    let numbers = numbers.join(", ");
    format!("the agent knows nothing of {what} {numbers}: it had not stored {them} yet; say again what it has to know")
}
