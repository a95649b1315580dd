//! A driver behind the one place where lines are read.

use super::driver::{Driver, Effect};
use crate::output::lines::clean::Clean;
use crate::output::observer::Observer;
use promptd_model::{AnswerDetails, ContentBlock, Observation, Stream};

impl Observer for Clean<Box<dyn Driver>> {
    fn observe_line(&mut self, stream: Stream, line: &[u8]) {
        self.observe(stream, line, |driver, line| driver.observe_line(stream, line));
    }

    fn observation(&self) -> &Observation {
        self.reader.observation()
    }
}

impl Driver for Clean<Box<dyn Driver>> {
    fn take_effects(&mut self) -> Vec<Effect> {
        self.reader.take_effects()
    }

    fn answer(&mut self, id: &str, option: &str, details: &AnswerDetails) {
        self.reader.answer(id, option, details);
    }

    fn steer(&mut self, number: u64, text: &str, blocks: &[ContentBlock]) -> bool {
        self.reader.steer(number, text, blocks)
    }

    fn interrupt(&mut self) {
        self.reader.interrupt();
    }

    fn observe_written(&mut self, line: &[u8]) -> bool {
        self.reader.observe_written(line)
    }

    fn awaited_method(&self) -> Option<&'static str> {
        self.reader.awaited_method()
    }

    fn give_up(&mut self, error: &str) {
        self.reader.give_up(error);
    }
}
