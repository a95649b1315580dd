//! What records of a session say to a person: how its turns go, and what is asked.

use super::{Block, Show, question};
use crate::cli::terminal::{clip, one_line, seconds};
use promptd_model::{Body, Permission};

impl Show {
    pub(super) fn record(&mut self, body: Body) {
        match body {
            Body::Setup(setup) => {
                self.setup = true;
                let text = format!("setup {} of {}: {}", setup.step, setup.of, one_line(&setup.command));
                self.notice(&clip(&text, self.style.width));
            }
            Body::Started(_) => self.setup = false,
            Body::Retry { attempt, delay, cause } => {
                self.over();
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
                    let lines = question::put(next, false, &self.style);
                    self.lines(&lines);
                }
            }
            Body::Exited(_) => self.over(),
            Body::TurnEnded(_) => {
                self.over();
                self.enter(Block::Nothing);
            }
            _ => {}
        }
    }

    /// Nothing runs and nothing is asked any more.
    fn over(&mut self) {
        self.questions.clear();
        self.tools.clear();
        self.plan.clear();
    }

    fn ask(&mut self, question: Permission) {
        if !self.style.keys {
            let text = question::tell(&question, &self.session);
            self.notice(&text);
        } else if self.questions.is_empty() {
            let said = self.block == Block::Lines && self.tools.has_just_said(&question.title);
            let lines = question::put(&question, said, &self.style);
            self.lines(&lines);
        }
        self.questions.push_back(question);
    }
}
