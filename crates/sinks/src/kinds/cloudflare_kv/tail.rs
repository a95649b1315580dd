//! The end of a text, in bounded memory.

use std::collections::VecDeque;

/// Maximum length of the line that says how much was left out.
const MAX_NOTICE: usize = 256;

/// The end of a text that fits into a value.
pub(super) struct TextTail {
    bytes: VecDeque<u8>,
    left_out: usize,
    max: usize,
}

impl TextTail {
    pub(super) fn of(max: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            left_out: 0,
            max,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let shortened = self.max.saturating_sub(MAX_NOTICE);
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

    /// The value: the text, or the notice and the end of the text from a complete character on.
    pub(super) fn into_value(mut self) -> Vec<u8> {
        if self.left_out == 0 {
            return self.bytes.into();
        }
        let continuation = self.bytes.iter().take_while(|byte| **byte & 0xC0 == 0x80).count();
        self.leave_out(continuation);
        let notice = format!(
            "[promptd: {} bytes before this are left out: a value holds {} bytes at most]\n",
            self.left_out, self.max
        );
        let mut value = notice.into_bytes();
        value.extend(self.bytes);
        value
    }
}
