//! Texts of an agent in the name of an option: in one line, and with everything in them visible.

/// The longest name of an option, in characters. What cannot be said in it is not offered.
pub(super) const MAX_NAME: usize = 600;

/// The text in one line; `None` if there is nothing to see.
pub(super) fn plain(text: &str) -> Option<String> {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    (!text.trim().is_empty()).then_some(shown)
}

/// Letters that show nothing, or show other letters in another order.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A list in a sentence.
pub(super) fn joined(texts: &[String]) -> String {
    match texts {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        _ => texts.concat(),
    }
}

/// A command as in a shell; `None` if there is nothing to see.
pub(super) fn command(args: &[&str]) -> Option<String> {
    let is_simple = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    let args = args.iter().map(|arg| {
        if arg.is_empty() || !arg.chars().all(is_simple) {
            format!("'{}'", arg.replace('\'', r"'\''"))
        } else {
            (*arg).to_owned()
        }
    });
    plain(&args.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_stays_hidden() {
        assert_eq!(plain("a\nb\u{202e}c").as_deref(), Some(r"a\nb\u{202e}c"));
        assert_eq!(plain(" \n"), None);
        assert_eq!(
            command(&["git", "log", "a b's", ""]).as_deref(),
            Some(r"git log 'a b'\''s' ''")
        );
        let texts = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([joined(&texts), joined(&texts[..1])], ["a, b and c", "a"]);
    }
}
