//! The end of a text, in no more memory than a value takes.

use std::collections::VecDeque;

/// Room for the line that says what was left out.
const NOTICE: usize = 256;

/// The end of a text, as much as a value holds.
pub(super) struct End {
    bytes: VecDeque<u8>,
    left_out: usize,
    max: usize,
}

impl End {
    pub(super) fn of(max: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            left_out: 0,
            max,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let shortened = self.max.saturating_sub(NOTICE);
        let most = if self.left_out == 0 { self.max } else { shortened };
        if self.bytes.len() > most {
            self.leave_out(self.bytes.len().saturating_sub(shortened));
        }
    }

    fn leave_out(&mut self, count: usize) {
        let count = count.min(self.bytes.len());
        drop(self.bytes.drain(..count));
        self.left_out = self.left_out.saturating_add(count);
    }

    /// The text; where it is not all of it, what was left out, and the rest from a whole character on.
    pub(super) fn into_value(mut self) -> Vec<u8> {
        if self.left_out == 0 {
            return self.bytes.into();
        }
        let goes_on = self.bytes.iter().take_while(|byte| **byte & 0xC0 == 0x80).count();
        self.leave_out(goes_on);
        let notice = format!(
            "[promptd: {} bytes before this are left out: a value holds {} bytes at most]\n",
            self.left_out, self.max
        );
        let mut value = notice.into_bytes();
        value.extend(self.bytes);
        value
    }
}
