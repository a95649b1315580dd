//! The git repository of a session: which requests are valid.

use std::borrow::Cow;
use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};

use super::path::CallerPath;

/// Maximum length of the name of a branch, tag or commit.
const MAX_REF: usize = 255;

/// Allowed URL schemes. `ext::` and other git remote helpers run commands, so they are not allowed.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// A repository that is cloned before the session's first agent starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoRequest {
    /// The URL: `https`, `http`, `ssh`, `git` or `file`, or `user@host:path`; without credentials.
    pub url: String,
    /// The branch, tag or commit to check out; the default branch when absent.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The folder below the session's `cwd` that it is cloned into, by default the repository's name. The agent
    /// works there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// The variable of the session's `env`, or of the server's environment, that holds the token for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
}

/// A request that is invalid. Contains no value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRepo {
    /// The field of the request.
    pub field: &'static str,
    /// Its value, or a description of it.
    pub value: String,
    /// How to correct it.
    pub hint: Cow<'static, str>,
}

impl InvalidRepo {
    fn new(field: &'static str, value: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        let (value, hint) = (value.into(), hint.into());
        Self { field, value, hint }
    }
}

/// The parts of a URL that are checked. Git URLs include `user@host:path`, which is not a URL for URL libraries.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    /// `None` for `user@host:path`.
    scheme: Option<&'a str>,
    user: Option<&'a str>,
    /// With the port, if any.
    host: &'a str,
    path: &'a str,
}

impl RepoRequest {
    /// Refuses a request that cannot work or would not be safe.
    pub fn check(&self) -> Result<(), InvalidRepo> {
        let parts = self.check_url()?;
        self.directory()?;
        if let Some(reference) = self.reference.as_deref().filter(|name| !is_reference(name)) {
            let hint = "use the name of a branch or tag, or a commit id";
            return Err(InvalidRepo::new("repo.ref", format!("{reference:?}"), hint));
        }
        let Some(variable) = &self.token_env else { return Ok(()) };
        let invalid = |hint| Err(InvalidRepo::new("repo.token_env", format!("{variable:?}"), hint));
        if !is_variable(variable) {
            return invalid(
                "use the name of an environment variable, such as GITHUB_TOKEN, and never the token itself",
            );
        }
        if variable.starts_with("PROMPTD_") {
            return invalid("names that begin with PROMPTD_ are promptd's own");
        }
        match parts.scheme {
            Some("https") => Ok(()),
            Some("http") if is_loopback(parts.host) => Ok(()),
            Some("http") => invalid("a token would cross the network unencrypted; use an https URL"),
            Some(_) | None => invalid("only https takes a token; use an https URL, or leave token_env out"),
        }
    }

    fn check_url(&self) -> Result<Parts<'_>, InvalidRepo> {
        let url = self.url.as_str();
        // A user, a query or a fragment may contain a secret.
        let shown = if url.contains(['@', '?', '#']) {
            "something else".to_owned()
        } else {
            format!("{url:?}")
        };
        let invalid = |hint| Err(InvalidRepo::new("repo.url", shown.clone(), hint));
        if url.contains(|letter: char| letter.is_control() || letter.is_whitespace()) || url.starts_with('-') {
            return invalid("it has white space, or begins with '-'; use a URL such as https://github.com/owner/name");
        }
        let Some(parts) = parts(url) else {
            return invalid("use https, http, ssh, git or file, such as https://github.com/owner/name");
        };
        let credentials = parts.user.is_some_and(|user| {
            user.contains(':') || !(parts.scheme.is_none() || parts.scheme == Some("ssh")) || !is_name(user)
        });
        if credentials {
            let hint =
                "put the token into env and its variable's name into repo.token_env, and leave it out of the URL";
            return Err(InvalidRepo::new("repo.url", "a URL with credentials in it", hint));
        }
        if parts.path.contains(['?', '#']) {
            let hint = "a query may hold a token; use the plain URL and repo.token_env";
            return Err(InvalidRepo::new("repo.url", "a URL with a query or fragment", hint));
        }
        let host = match parts.host.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            Some(_) if !parts.host.ends_with(']') => return invalid("its host or port is none"),
            Some(_) | None => parts.host,
        };
        let is_host = is_name(host) || (host.starts_with('[') && host.ends_with(']'));
        if (parts.scheme != Some("file") && !is_host) || parts.path.trim_matches('/').is_empty() {
            return invalid("it names no host or no repository; use a URL such as https://github.com/owner/name");
        }
        Ok(parts)
    }

    /// The folder of the repository, relative to the session's `cwd`; empty for `cwd` itself.
    pub fn directory(&self) -> Result<PathBuf, InvalidRepo> {
        let (dir, given) = match &self.dir {
            Some(dir) => (dir.as_str(), true),
            None => (name_of(&self.url), false),
        };
        if !given && [".", "..", ""].contains(&dir) {
            return Err(InvalidRepo::new(
                "repo.dir",
                "missing",
                "the URL has no name to use; name a folder",
            ));
        }
        let invalid = |hint: &str| Err(InvalidRepo::new("repo.dir", format!("{dir:?}"), hint.to_owned()));
        if dir.is_empty() {
            return invalid("use a path below the session's cwd");
        }
        let outside = "it leaves the session's cwd; use a path below it";
        let path = match CallerPath::parse(dir) {
            Ok(CallerPath::Literal(path)) => path,
            Ok(CallerPath::InHome(_)) => return invalid(outside),
            Err(hint) => return invalid(&hint),
        };
        let mut inside = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) if name.eq_ignore_ascii_case(".git") => {
                    return invalid("git keeps .git for itself");
                }
                Component::Normal(name) => inside.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return invalid(outside);
                }
            }
        }
        Ok(inside)
    }

    /// Scheme, host and port of the URL. Only this origin gets the token.
    pub fn origin(&self) -> Option<&str> {
        let parts = parts(&self.url)?;
        let scheme = parts.scheme?;
        self.url
            .get(..scheme.len().saturating_add(3).saturating_add(parts.host.len()))
    }

    /// The user name to send with a token. Most servers accept any name.
    pub fn user(&self) -> &'static str {
        match self.origin() {
            Some("https://bitbucket.org") => "x-token-auth",
            _ => "x-access-token",
        }
    }
}

fn parts(url: &str) -> Option<Parts<'_>> {
    if let Some((scheme, rest)) = url.split_once("://") {
        let scheme = SCHEMES.into_iter().find(|known| *known == scheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (user, host) = split_user(authority);
        let scheme = Some(scheme);
        return Some(Parts {
            scheme,
            user,
            host,
            path,
        });
    }
    let (authority, path) = url.split_once(':')?;
    let (user, host) = split_user(authority);
    // `a/b:c` is a path and `ext::…` a remote helper; neither has a host.
    (!authority.contains('/') && !path.starts_with(':')).then_some(Parts {
        scheme: None,
        user,
        host,
        path,
    })
}

fn split_user(authority: &str) -> (Option<&str>, &str) {
    authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, host)| (Some(user), host))
}

/// The last segment of a URL, without `.git`.
fn name_of(url: &str) -> &str {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    last.strip_suffix(".git").unwrap_or(last)
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed)
}

fn is_variable(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(allowed) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let numbers: Vec<Option<u8>> = name.split('.').map(|part| part.parse().ok()).collect();
    name == "localhost" || name == "[::1]" || matches!(numbers.as_slice(), [Some(127), Some(_), Some(_), Some(_)])
}

/// Whether git accepts it as the name of a reference, and does not read it as an option or a revision expression.
fn is_reference(name: &str) -> bool {
    let valid_start = !name.starts_with(['-', '/', '.']);
    let valid_end = !name.ends_with(['/', '.']) && !name.to_ascii_lowercase().ends_with(".lock");
    let allowed = |letter: char| !letter.is_control() && !letter.is_whitespace() && !"~^:?*[\\".contains(letter);
    let has = |text| name.contains(text);
    let no_syntax = !(has("..") || has("@{") || has("//") || has("/.") || name == "@");
    (1..=MAX_REF).contains(&name.len()) && valid_start && valid_end && no_syntax && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repo(url: &str) -> RepoRequest {
        RepoRequest {
            url: url.to_owned(),
            ..RepoRequest::default()
        }
    }

    #[test]
    fn valid_urls_are_accepted_and_name_the_folder() {
        for (url, dir) in [
            ("https://github.com/owner/name", "name"),
            ("https://github.com/owner/name.git/", "name"),
            ("http://127.0.0.1:8080/x.git", "x"),
            ("ssh://git@github.com:22/owner/name", "name"),
            ("git@github.com:owner/name.git", "name"),
            ("host:name", "name"),
            ("git://[::1]:9418/name", "name"),
            ("file:///srv/git/a b.git".replace(' ', "-").as_str(), "a-b"),
        ] {
            let repo = repo(url);
            assert_eq!(repo.check(), Ok(()), "{url}");
            assert_eq!(repo.directory(), Ok(PathBuf::from(dir)), "{url}");
        }
    }

    #[test]
    fn invalid_urls_are_refused() {
        for url in [
            "",
            "name",
            "/srv/git/x",
            "../x",
            "-oProxyCommand=x",
            "ext::sh -c x",
            "ext::sh",
            "ftp://host/x",
            "https://",
            "https://host",
            "https://host/",
            "https://-x/y",
            "https:///x",
            "https://host:port/x",
            "https://ho st/x",
            "ssh://-oProxyCommand=x/y",
            "-x@host:y",
            "javascript:alert(1)/x?y",
        ] {
            let refused = repo(url).check().unwrap_err();
            assert!(refused.field.starts_with("repo."), "{url}: {refused:?}");
        }
    }

    #[test]
    fn url_with_credentials_is_refused_and_not_shown() {
        for url in [
            "https://s3cret@github.com/owner/name",
            "https://user:s3cret@github.com/owner/name",
            "http://user:s3c/ret@host/x",
            "git://s3cret@host/x",
            "ssh://git:s3cret@host/x",
            "https://host/x?private_token=s3cret",
            "https://host/x#s3cret",
            "https://user:s3cret@host /x",
        ] {
            let refused = repo(url).check().unwrap_err();
            assert!(!format!("{refused:?}").contains("s3c"), "{url}: {refused:?}");
        }
        let advice = repo("https://s3cret@github.com/owner/name").check().unwrap_err();
        assert!(advice.hint.contains("repo.token_env"), "{advice:?}");
    }

    #[test]
    fn folder_stays_below_the_working_directory() {
        let dir = |dir: &str| {
            let dir = Some(dir.to_owned());
            RepoRequest {
                dir,
                ..repo("https://host/x")
            }
            .directory()
        };
        assert_eq!(dir("a/./b/"), Ok(PathBuf::from("a/b")));
        assert_eq!(dir("."), Ok(PathBuf::new()));
        for outside in [
            "",
            "/tmp/x",
            "..",
            "a/../../b",
            "a/..",
            ".git",
            "a/.GIT",
            "a\0b",
            "~",
            "~/x",
            "~root",
            "$HOME/x",
            "a/${X}",
        ] {
            assert_eq!(dir(outside).unwrap_err().field, "repo.dir", "{outside:?}");
        }
        assert_eq!(repo("https://host/..").directory().unwrap_err().field, "repo.dir");
    }

    #[test]
    fn token_needs_https_or_loopback() {
        let with = |url: &str, name: &str| RepoRequest {
            token_env: Some(name.to_owned()),
            ..repo(url)
        };
        assert_eq!(with("https://h/x", "GITHUB_TOKEN").check(), Ok(()));
        assert_eq!(with("http://127.0.0.1:80/x", "T").check(), Ok(()));
        for (url, name) in [
            ("http://host/x", "T"),
            ("http://127.0.0.1.evil.com/x", "T"),
            ("git@h:x", "T"),
            ("file:///x/y", "T"),
            ("https://h/x", "ghp-0123"),
            ("https://h/x", "1T"),
            ("https://h/x", ""),
            ("https://h/x", "PROMPTD_TOKEN"),
        ] {
            assert_eq!(
                with(url, name).check().unwrap_err().field,
                "repo.token_env",
                "{url} {name}"
            );
        }
        assert_eq!(repo("https://h:8443/a/b").origin(), Some("https://h:8443"));
        assert_eq!(repo("git@h:a/b").origin(), None);
    }

    #[test]
    fn reference_must_be_a_plain_name() {
        for name in ["main", "feature/x", "v1.0", "0123abc", "refs/pull/1/head", "ä", "a-b"] {
            assert!(is_reference(name), "{name}");
        }
        for name in [
            "",
            "-x",
            "--upload-pack=x",
            "a b",
            "a..b",
            "a:b",
            "a^",
            "@{u}",
            "@",
            "a/",
            "x.lock",
            "a\n",
            "*",
        ] {
            assert!(!is_reference(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_request_stays_below_the_directory(url in "\\PC*", dir in "\\PC*", reference in "\\PC*") {
            let request = RepoRequest { url, dir: Some(dir), reference: Some(reference), token_env: Some("T".to_owned()) };
            let _checked = request.check();
            if let Ok(inside) = request.directory() {
                prop_assert!(inside.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }

        #[test]
        fn no_accepted_url_is_an_option_or_a_helper(url in "[a-z@:/.?#-]{0,24}") {
            let request = repo(&url);
            if request.check().is_ok() {
                // Git runs a remote helper for `helper::` if only the helper's name comes before it.
                let helper = url.split_once("::").is_some_and(|(name, _)| name.chars().all(|letter| letter != ':' && letter != '/' && letter != '@'));
                prop_assert!(!url.starts_with('-') && !helper);
                prop_assert!(url.contains(':'));
            }
        }
    }
}
