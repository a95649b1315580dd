//! Paths as callers write them. No shell reads them, so what only a shell would expand is refused, except for `~`.

use std::path::{Path, PathBuf};

/// The longest path that Linux takes: `PATH_MAX` less the final zero.
const MAX_PATH: usize = 4_095;

/// The longest name of one folder: `NAME_MAX`.
const MAX_NAME: usize = 255;

/// A path that a caller wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerPath<'a> {
    /// As it is: absolute, or relative to what the caller knows.
    Literal(&'a Path),
    /// Relative to the home of the user.
    InHome(&'a Path),
}

impl<'a> CallerPath<'a> {
    /// Parses it. A relative path that begins with `./` is literal, whatever follows.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("a path cannot hold a NUL".to_owned());
        }
        if text.len() > MAX_PATH || text.split('/').any(|name| name.len() > MAX_NAME) {
            return Err(format!(
                "a path has at most {MAX_PATH} bytes, and each name in it {MAX_NAME}"
            ));
        }
        if text == "~" {
            return Ok(Self::InHome(Path::new("")));
        }
        if let Some(rest) = text.strip_prefix("~/") {
            let rest = rest.trim_start_matches('/');
            return refuse_variable(text, rest).map(|()| Self::InHome(Path::new(rest)));
        }
        if text.starts_with('~') {
            return Err("the home of another user is not looked up; write its absolute path".to_owned());
        }
        if text.starts_with("file:") || text.contains("://") {
            return Err("this is a URI; write the path alone, such as /srv/project".to_owned());
        }
        if !text.starts_with(['/', '.']) {
            refuse_variable(text, text)?;
        }
        Ok(Self::Literal(Path::new(text)))
    }

    /// The path, with the user's home in place of `~`; `None` where that is not known.
    #[must_use]
    pub fn resolve(self, home: impl FnOnce() -> Option<PathBuf>) -> Option<PathBuf> {
        match self {
            Self::Literal(path) => Some(path.to_owned()),
            Self::InHome(rest) if rest.as_os_str().is_empty() => home(),
            Self::InHome(rest) => Some(home()?.join(rest)),
        }
    }
}

/// A folder can have such a name, but what is meant is a variable.
fn refuse_variable(text: &str, names: &str) -> Result<(), String> {
    let is_expanded = |name: &str| {
        let rest = name.strip_prefix('$');
        let is_variable = rest.is_some_and(|rest| {
            let first = rest.chars().next();
            first.is_some_and(|first| first.is_alphabetic() || matches!(first, '_' | '{' | '('))
        });
        is_variable || name.contains('`')
    };
    if !names.split('/').any(is_expanded) {
        return Ok(());
    }
    let in_home = ["$HOME", "${HOME}"].iter().find_map(|home| text.strip_prefix(home));
    Err(match in_home.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => format!("variables are not expanded in a path; write \"~{rest}\""),
        None => {
            "variables are not expanded in a path; write their values, or begin with ./ where a folder has this name"
                .to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Result<PathBuf, String> {
        let path = CallerPath::parse(text)?;
        path.resolve(|| Some("/home/me".into())).ok_or_else(String::new)
    }

    #[test]
    fn tilde_is_the_home() {
        for (text, path) in [
            ("~", "/home/me"),
            ("~/", "/home/me"),
            ("~/a/b", "/home/me/a/b"),
            ("~//a", "/home/me/a"),
            ("a/~/b", "a/~/b"),
            ("./~", "./~"),
            ("a~", "a~"),
            ("/srv/x", "/srv/x"),
            ("", ""),
        ] {
            assert_eq!(resolved(text), Ok(path.into()), "{text}");
        }
        assert_eq!(CallerPath::parse("~/x").map(|path| path.resolve(|| None)), Ok(None));
    }

    #[test]
    fn what_only_a_shell_expands_is_refused() {
        for (text, right) in [
            ("$HOME/x", "\"~/x\""),
            ("${HOME}/x", "\"~/x\""),
            ("$HOME", "\"~\""),
            ("$HOMES/x", "./"),
            ("$PWD/x", "./"),
            ("a/$USER", "./"),
            ("~/$USER", "./"),
            ("$(pwd)/x", "./"),
            ("`pwd`/x", "./"),
            ("~root/x", "absolute"),
            ("~root", "absolute"),
            ("file:///srv/x", "path alone"),
            ("https://host/x", "path alone"),
            ("a\0b", "NUL"),
        ] {
            let hint = resolved(text).unwrap_err();
            assert!(hint.contains(right), "{text}: {hint}");
        }
        for literal in ["./$id", "a$b", "$", "$1", "100$/x", "/srv/$data"] {
            assert_eq!(resolved(literal), Ok(literal.into()));
        }
    }

    #[test]
    fn path_that_no_system_call_takes_is_refused() {
        for long in ["x".repeat(256), "x/".repeat(2_100), format!("~/{}", "x".repeat(300))] {
            assert!(resolved(&long).unwrap_err().contains("at most"));
        }
        assert!(resolved(&"x".repeat(255)).is_ok());
    }
}
