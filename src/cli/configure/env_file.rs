//! Files of variables: `KEY=VALUE` lines as in shells and dotenv, or TOML. No error contains a value.

use std::collections::BTreeMap;
use std::path::Path;

/// Names and values.
pub(crate) type Variables = BTreeMap<String, String>;

/// Parses the text of a file; its name says the format.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Variables, String> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        toml(text)
    } else {
        lines(text)
    }
}

fn toml(text: &str) -> Result<Variables, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: this is not TOML; write NAME = \"value\"", line_of(before))
    })?;
    let variable = |(name, value): (String, toml::Value)| match value {
        toml::Value::String(value) => Ok((name, value)),
        toml::Value::Integer(value) => Ok((name, value.to_string())),
        toml::Value::Boolean(value) => Ok((name, value.to_string())),
        _ => Err(format!(
            "{name:?} is not a string; write {name} = \"value\", outside of any section"
        )),
    };
    table.into_iter().map(variable).collect()
}

fn line_of(before: &str) -> usize {
    before.matches('\n').count().saturating_add(1)
}

fn lines(text: &str) -> Result<Variables, String> {
    let mut variables = Variables::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text).trim_start();
    while !rest.is_empty() {
        let (line, after_line) = rest.split_once('\n').unwrap_or((rest, ""));
        if line.starts_with('#') {
            rest = after_line.trim_start();
            continue;
        }
        let number = line_of(text.strip_suffix(rest).unwrap_or_default());
        let wrong = |hint: &str| format!("line {number}: {hint}");
        let (name, _) = line.split_once('=').ok_or_else(|| wrong("write NAME=value"))?;
        let value = rest.get(name.len().saturating_add(1)..).unwrap_or_default();
        let (value, after) = value_and_rest(value.trim_start_matches([' ', '\t'])).map_err(wrong)?;
        let name = name.trim();
        let name = name.strip_prefix("export ").unwrap_or(name).trim_start();
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) || !name.chars().all(allowed) {
            return Err(wrong(
                "a name has letters, digits and '_', and does not begin with a digit",
            ));
        }
        variables.insert(name.to_owned(), value);
        rest = after.trim_start();
    }
    Ok(variables)
}

/// A value, which may have several lines within quotes, and the text after its last line.
fn value_and_rest(text: &str) -> Result<(String, &str), &'static str> {
    let (value, after) = if let Some(quoted) = text.strip_prefix('\'') {
        let (value, after) = quoted
            .split_once('\'')
            .ok_or("the ' that begins the value has no end")?;
        (value.to_owned(), after)
    } else if let Some(quoted) = text.strip_prefix('"') {
        unescape(quoted).ok_or("the \" that begins the value has no end")?
    } else {
        let (line, after) = text.split_once('\n').unwrap_or((text, ""));
        let comment = line.find(" #").into_iter().chain(line.find("\t#")).min();
        let value = comment.and_then(|at| line.get(..at)).unwrap_or(line);
        let value = if value.starts_with('#') { "" } else { value.trim() };
        return Ok((value.to_owned(), after));
    };
    let (tail, after) = after.split_once('\n').unwrap_or((after, ""));
    let tail = tail.trim();
    if tail.is_empty() || tail.starts_with('#') {
        Ok((value, after))
    } else {
        Err("something follows the closing quote; put all of the value into one pair of quotes")
    }
}

/// The text before the closing quote, unescaped, and the text after it.
fn unescape(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, quoted.get(at.saturating_add(1)..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$' | '`') => value.push(escaped),
                // As in a shell, any other backslash is kept.
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Result<String, String> {
        let variables = lines(text)?;
        Ok(variables
            .into_iter()
            .map(|(name, value)| format!("{name}={value};"))
            .collect())
    }

    #[test]
    fn lines_are_read_as_shells_and_dotenv_do() {
        for (text, expected) in [
            (
                "A=1\nexport B=two words  \r\n\n# C=3\n  D = 4 # four",
                "A=1;B=two words;D=4;",
            ),
            ("A=\nB=''\nC=\"\"\nD=#x", "A=;B=;C=;D=;"),
            ("A=1\t# one # two\nB=a#b", "A=1;B=a#b;"),
            ("A='a # \\n \"b\"' # end", "A=a # \\n \"b\";"),
            (r#"A="a\nb \"c\" \$d \x""#, "A=a\nb \"c\" $d \\x;"),
            (
                "KEY=\"-----BEGIN\nb\n-----END\"\nB='1\n2'\n",
                "B=1\n2;KEY=-----BEGIN\nb\n-----END;",
            ),
            ("URL=postgres://u:p@h/d?x=1#frag\n", "URL=postgres://u:p@h/d?x=1#frag;"),
            ("\u{feff}A=1", "A=1;"),
            ("A=1\nA=2", "A=2;"),
            ("", ""),
        ] {
            assert_eq!(one(text).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn errors_have_a_line_and_no_value() {
        for (text, line) in [
            ("A=1\ns3cret", "line 2: write NAME=value"),
            ("A=1\n\n9A=s3cret", "line 3: a name has"),
            ("A B=s3cret", "line 1: a name has"),
            ("A='s3cret\n\n", "line 1: the ' that"),
            ("A=1\nB=\"s3cret", "line 2: the \" that"),
            ("A='s3cret' more", "line 1: something follows"),
        ] {
            let error = one(text).unwrap_err();
            assert!(error.starts_with(line) && !error.contains("s3cret"), "{error}");
        }
        let toml = |text| parse(Path::new("x.toml"), text);
        assert_eq!(toml("A = \"1\"\nB = 2\nC = true").unwrap().len(), 3);
        for text in ["A = [\"s3cret\"]", "A = 's3cret", "\n[section]\nA = 's3cret'"] {
            let error = toml(text).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn quoted_values_are_read_back(value in "[^\0]*") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            let read = lines(&format!("A=\"{escaped}\"\nB=2")).unwrap();
            prop_assert_eq!(read["A"].as_str(), value);
            prop_assert_eq!(read["B"].as_str(), "2");
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*", toml in "\\PC*") {
            let _read = (lines(&text), super::toml(&toml));
        }
    }
}
