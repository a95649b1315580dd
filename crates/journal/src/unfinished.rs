//! The lines and texts of an agent that may continue in a later record.
//!
//! Which ones are kept only depends on the records of the last window. So it does not matter where reading started, or where
//! its blocks begin.

use std::collections::{BTreeMap, VecDeque};

/// Maximum number of texts. One line may begin thousands, and a message seldom has more than a few.
pub(super) const MAX_TEXTS: usize = 256;

/// The output streams and standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StandardStream {
    Stdin,
    Stdout,
    Stderr,
}

/// A text that may continue: a line, or a text that an agent writes in parts, one per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) turn: u32,
    pub(super) stream: StandardStream,
    /// The text in the line; none for the line itself.
    pub(super) text: Option<u64>,
}

/// All lines that may continue, and the last used texts.
#[derive(Debug, Default)]
pub(super) struct UnfinishedTexts {
    all: BTreeMap<Key, Unfinished>,
    /// The texts, the least recently used first.
    texts: BTreeMap<u64, Key>,
    uses: u64,
}

/// The last bytes of a text that may continue.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    pub(super) bytes: VecDeque<u8>,
    /// The records that these bytes come from: the end of each in the journal, and its number of bytes.
    records: VecDeque<(u64, usize)>,
    /// The last byte was hidden.
    pub(super) hidden: bool,
    /// The line has ended, and base64 may continue in the next one.
    pub(super) ended: bool,
    /// When it was used last, compared with others.
    used: u64,
}

impl UnfinishedTexts {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn get(&self, key: Key) -> Option<&Unfinished> {
        self.all.get(&key)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Unfinished> {
        let unfinished = self.all.remove(&key)?;
        self.texts.remove(&unfinished.used);
        Some(unfinished)
    }

    /// Inserts what was removed. Of too many texts the least recently used one is forgotten.
    pub(super) fn insert(&mut self, key: Key, mut unfinished: Unfinished) {
        if unfinished.records.is_empty() {
            return;
        }
        self.uses = self.uses.saturating_add(1);
        unfinished.used = self.uses;
        self.all.insert(key, unfinished);
        if key.text.is_some() {
            self.texts.insert(self.uses, key);
            if self.texts.len() > MAX_TEXTS
                && let Some((_, oldest)) = self.texts.pop_first()
            {
                self.all.remove(&oldest);
            }
        }
    }

    /// Forgets what a record that starts at `at` cannot continue.
    pub(super) fn forget_before(&mut self, at: u64, window: u64) {
        self.all.retain(|_, unfinished| unfinished.is_near(at, window));
        self.texts.retain(|_, key| self.all.contains_key(key));
    }

    /// The same for the line of a record, and for all texts.
    pub(super) fn forget_line_before(&mut self, key: Key, at: u64, window: u64) {
        let is_far =
            |all: &BTreeMap<Key, Unfinished>, key: &Key| all.get(key).is_none_or(|one| !one.is_near(at, window));
        if is_far(&self.all, &key) {
            self.all.remove(&key);
        }
        while let Some(oldest) = self
            .texts
            .first_entry()
            .filter(|oldest| is_far(&self.all, oldest.get()))
        {
            self.all.remove(&oldest.remove());
        }
    }
}

impl Unfinished {
    /// Whether a record that starts at `at` continues the line.
    fn is_near(&self, at: u64, window: u64) -> bool {
        self.records
            .back()
            .is_some_and(|(end, _)| end.saturating_add(window) >= at)
    }

    /// Forgets bytes outside of the window of a record that starts at `at`.
    pub(super) fn forget_before(&mut self, at: u64, window: u64) {
        if !self.is_near(at, window) {
            *self = Self::default();
        }
        while let Some((end, length)) = self.records.front().copied()
            && end.saturating_add(window) < at
        {
            self.records.pop_front();
            self.bytes.drain(..length.min(self.bytes.len()));
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], end: u64, reach: usize) {
        let bytes = bytes.get(bytes.len().saturating_sub(reach)..).unwrap_or(bytes);
        self.bytes.extend(bytes);
        self.records.push_back((end, bytes.len()));
        let mut surplus = self.bytes.len().saturating_sub(reach);
        self.bytes.drain(..surplus);
        while surplus > 0
            && let Some((_, length)) = self.records.front_mut()
        {
            let gone = surplus.min(*length);
            *length = length.saturating_sub(gone);
            surplus = surplus.saturating_sub(gone);
            if *length == 0 && self.records.len() > 1 {
                self.records.pop_front();
            }
        }
    }
}
