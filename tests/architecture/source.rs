//! The source files of the workspace, and their code without comments, texts and unit tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One crate: its short name, and its files by their paths below `src/`.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) files: BTreeMap<PathBuf, File>,
}

pub(crate) struct File {
    /// Below the repository's root, for messages.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// The whole file without comments and what is in quotes.
    pub(crate) code: String,
    /// The same without unit tests; empty where the file is one.
    pub(crate) shipped: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The root package and all that is below `crates`.
pub(crate) fn crates() -> Vec<Crate> {
    let mut all = vec![read_crate("promptd", root())];
    let folders = std::fs::read_dir(root().join("crates")).unwrap().flatten();
    let mut folders: Vec<_> = folders.map(|entry| entry.path()).collect();
    folders.sort();
    for folder in folders {
        all.push(read_crate(folder.file_name().unwrap().to_str().unwrap(), &folder));
    }
    assert!(all.len() > 5 && all.iter().all(|one| !one.files.is_empty()));
    all
}

fn read_crate(name: &str, folder: &Path) -> Crate {
    let mut files = BTreeMap::new();
    read(&folder.join("src"), &folder.join("src"), &mut files);
    let name = name.to_owned();
    Crate { name, files }
}

fn read(folder: &Path, src: &Path, found: &mut BTreeMap<PathBuf, File>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read(&path, src, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = without_comments_and_texts(&text);
            let inside = path.strip_prefix(src).unwrap().to_owned();
            let shipped = if is_test(&inside) {
                String::new()
            } else {
                without_tests(&code)
            };
            let path = path.strip_prefix(root()).unwrap().to_owned();
            found.insert(
                inside,
                File {
                    path,
                    text,
                    code,
                    shipped,
                },
            );
        }
    }
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_str().unwrap();
        let name = part.trim_end_matches(".rs");
        name == "tests" || name.ends_with("_tests")
    })
}

/// Comments become spaces, and so does what is between quotes.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = quoted(rest, code.chars().next_back()) {
            code.push_str("\"\"");
            blank(&rest[..length], &mut code);
            rest = &rest[length..];
            continue;
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        blank(&rest[..length], &mut code);
        rest = &rest[length..];
    }
    code
}

/// The lines of what is left out stay, so that what follows keeps its place.
fn blank(text: &str, code: &mut String) {
    code.extend(text.chars().filter(|letter| *letter == '\n'));
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().unwrap().len_utf8();
        }
    }
    at
}

/// How long a text or a letter in quotes is that begins here.
fn quoted(rest: &str, before: Option<char>) -> Option<usize> {
    let is_in_word = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| {
        let behind = rest.strip_prefix(prefix);
        behind.is_some_and(|behind| behind.starts_with(['"', '#', '\'']))
    });
    let prefix = if is_in_word { "" } else { prefix.unwrap_or_default() };
    let body = &rest[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    if prefix.ends_with('r') && body[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let begun = prefix.len() + hashes + 1;
        let length = rest[begun..].find(&end).map_or(rest.len(), |at| begun + at + end.len());
        return Some(length);
    }
    let quote = body.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let mut letters = body.char_indices().skip(1);
    if quote == '\'' {
        // A lifetime has no second quote.
        let mut behind = body.chars().skip(1);
        let (one, two) = (behind.next()?, behind.next()?);
        if one != '\\' && two != '\'' {
            return None;
        }
    }
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            return Some(prefix.len() + at + 1);
        }
    }
    Some(rest.len())
}

/// Without the items behind `#[cfg(test)]`, wherever they are.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut shipped = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        shipped.push_str(&rest[..at]);
        rest = &rest[at + MARK.len()..];
        rest = &rest[item(rest)..];
    }
    shipped.push_str(rest);
    shipped
}

/// How long an item is: to its semicolon, or to the end of its braces.
fn item(code: &str) -> usize {
    let (mut depth, mut braces) = (0_i32, 0_i32);
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        let is_over = (letter == ';' || letter == '}' || letter == ',') && depth == 0 && braces == 0;
        if is_over {
            return at + 1;
        }
        // What it stands before was the last of its surroundings.
        if braces < 0 || depth < 0 {
            return at;
        }
    }
    code.len()
}

#[test]
fn comments_texts_and_tests_are_recognized() {
    let text = "let a = \"x // \\\" {\"; // {\n/* { /* } */ */ let b = r#\"\"{\"#; let c = '\\''; fn d<'a>(e: &'a str) {}\n\
                #[cfg(test)]\nmod tests { use crate::f; }\n#[cfg(test)]\nuse crate::g;\nfn h() { i() }";
    let code = without_comments_and_texts(text);
    assert!(
        !code.contains("x //") && code.contains("fn d<'a>(e: &'a str) {}"),
        "{code}"
    );
    let shipped = without_tests(&code);
    assert!(
        !shipped.contains("crate::f") && !shipped.contains("crate::g"),
        "{shipped}"
    );
    assert!(shipped.contains("fn h() { i() }"), "{shipped}");
}
