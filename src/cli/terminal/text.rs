//! Text of agents for a terminal, without control characters.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Shows the character before it as an emoji, which takes one more column.
const EMOJI: char = '\u{fe0f}';

/// Replaces control characters by visible text. The result does not depend on how the text is split.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    /// The last character was a carriage return; its meaning depends on the next one.
    returned: bool,
}

impl Cleaner {
    /// The next piece of a text. Line ends become newlines; tabs stay.
    pub(crate) fn push(&mut self, text: &str, out: &mut String) {
        for char in text.chars() {
            if std::mem::take(&mut self.returned) && char != '\n' {
                out.push_str("^M");
            }
            match char {
                '\r' => self.returned = true,
                '\n' | '\t' => out.push(char),
                char => visible(char, out),
            }
        }
    }

    /// The text has ended.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if std::mem::take(&mut self.returned) {
            out.push_str("^M");
        }
    }
}

/// A character, in caret notation if it is a control character. Bidirectional controls are replaced, too: they could make
/// a text look like another one.
fn visible(char: char, out: &mut String) {
    match char {
        '\0'..='\x1f' => {
            out.push('^');
            // ^@, ^A … ^_.
            out.extend(char::from_u32(u32::from(char).saturating_add(64)));
        }
        '\x7f' => out.push_str("^?"),
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            out.push_str(&format!("<{:04X}>", u32::from(char)));
        }
        char => out.push(char),
    }
}

/// The first line of a text that is not empty, without control characters.
pub(crate) fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    one_line(line.unwrap_or_default())
}

/// A text on one line, without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.trim().chars() {
        match char {
            '\n' | '\r' | '\t' => line.push(' '),
            char => visible(char, &mut line),
        }
    }
    line
}

/// Cuts a text to a number of columns; some characters take two.
pub(crate) fn clip(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut room = most.saturating_sub(1);
    let fitting = text.chars().take_while(|char| {
        let width = if *char == EMOJI { 1 } else { char.width().unwrap_or(0) };
        let left = room.checked_sub(width);
        room = left.unwrap_or(room);
        left.is_some()
    });
    fitting.chain(['…']).collect()
}

/// A duration for people.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    match whole {
        0..=59 => format!("{seconds:.1} s"),
        60..=3_599 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(pieces: &[&str]) -> String {
        let (mut cleaner, mut out) = (Cleaner::default(), String::new());
        for piece in pieces {
            cleaner.push(piece, &mut out);
        }
        cleaner.finish(&mut out);
        out
    }

    #[test]
    fn control_characters_become_visible() {
        let text = "a\x1b[31mb\x07\x7f\u{9b}2J\u{202e}\tc\r\nd\re\n\r";
        assert_eq!(cleaned(&[text]), "a^[[31mb^G^?<009B>2J<202E>\tc\nd^Me\n^M");
        assert_eq!(one_line(" a\r\n\tb\x1b "), "a   b^[");
        assert_eq!(first_line("\n  \n one\ntwo"), "one");
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 3), "äö…");
        assert_eq!(clip("x", 0), "…");
        assert_eq!(clip("日本語", 6), "日本語");
        assert_eq!(clip("日本語", 5), "日本…");
        assert_eq!(clip("日本語", 4), "日…");
        assert_eq!(clip("e\u{301}e\u{301}", 2), "e\u{301}e\u{301}", "an accent takes none");
        assert_eq!(clip("❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}", 4), "❤\u{fe0f}❤…");
    }

    #[test]
    fn durations_are_readable() {
        assert_eq!(
            [2.06, 59.0, 61.0, 3_720.0, -1.0].map(seconds),
            ["2.1 s", "59.0 s", "1 min 1 s", "1 h 2 min", "-1.0 s"]
        );
    }

    proptest! {
        #[test]
        fn no_text_keeps_a_control_character(text in any::<String>(), at in any::<prop::sample::Index>()) {
            let cut = text.floor_char_boundary(at.index(text.len() + 1));
            let (left, right) = text.split_at(cut);
            let whole = cleaned(&[&text]);
            prop_assert_eq!(&cleaned(&[left, right]), &whole);
            prop_assert!(!whole.chars().any(|char| char.is_control() && !"\n\t".contains(char)));
            prop_assert!(!one_line(&text).chars().any(char::is_control));
            prop_assert!(clip(&one_line(&text), 20).width() <= 20);
        }
    }
}
