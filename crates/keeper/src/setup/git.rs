//! The git commands that clone, update and check out.
//!
//! The token is in the environment of these processes. A one-line credential helper passes it to git, and only for the
//! scheme, host and port of the repository's URL. The token is in no argument, configuration file or URL.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::failure::{SetupFailure, StepStderr, cannot_use};
use promptd_model::RepoRequest;

/// The branches of a clone. A clone that was killed may not have them configured.
const ALL_BRANCHES: &str = "+refs/heads/*:refs/remotes/origin/*";

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(folder)?.next().is_none())
}

/// The repository and its folder.
pub(super) struct Git<'a> {
    pub(super) repo: &'a RepoRequest,
    pub(super) target: &'a Path,
    pub(super) stderr: &'a StepStderr,
}

impl Git<'_> {
    /// Clones into an empty folder, or updates an existing clone.
    pub(super) fn clone_or_update(&self, base: &Path) -> Result<(), SetupFailure> {
        let target = self.target;
        if is_empty(target).map_err(|error| cannot_use(target, &error))? {
            let mut clone = self.command();
            clone
                .args(["clone", "--no-checkout", "--", &self.repo.url])
                .arg(target)
                .current_dir(base);
            self.run(clone, "clone")?;
        } else {
            self.check_existing_clone()?;
            let fetch = self.in_repo(&["fetch", "--force", "--tags", "origin", ALL_BRANCHES]);
            self.run(fetch, "fetch")?;
        }
        match &self.repo.reference {
            Some(reference) => self.check_out(reference),
            None => self.check_out_default(),
        }
    }

    /// A git command that never prompts, and that has the token.
    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.stdin(Stdio::null()).env("GIT_TERMINAL_PROMPT", "0");
        // These could name another repository.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        let mut settings = vec![
            ("advice.detachedHead".to_owned(), "false".to_owned()),
            // A connection that broke during a pause is closed: git 2.50 and newer send keep-alive probes.
            ("http.keepAliveIdle".to_owned(), "15".to_owned()),
            ("http.keepAliveInterval".to_owned(), "15".to_owned()),
            ("http.keepAliveCount".to_owned(), "2".to_owned()),
            // Older ones wait for this time. Not shorter: a server that prepares a large repository only sends five bytes
            // every five seconds, for minutes (git's `uploadpack.keepAlive`).
            ("http.lowSpeedLimit".to_owned(), "1".to_owned()),
            ("http.lowSpeedTime".to_owned(), "600".to_owned()),
        ];
        if let (Some(variable), Some(scope)) = (&self.repo.token_env, self.repo.origin()) {
            // An empty value removes all configured helpers, so that none of them stores the token.
            settings.push(("credential.helper".to_owned(), String::new()));
            let user = self.repo.user();
            // `printf` is a builtin of the shell, so the token is in no argument of any process.
            let helper = format!(
                "!f() {{ test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' {user} \"${variable}\"; }}; f"
            );
            settings.push((format!("credential.{scope}.helper"), helper));
            // No prompt if the token is refused, and no token in traces.
            command.env("GIT_ASKPASS", "true").env("GIT_TRACE_REDACT", "1");
        }
        let inherited = std::env::var("GIT_CONFIG_COUNT")
            .ok()
            .and_then(|count| count.parse().ok());
        let mut count: usize = inherited.unwrap_or(0);
        for (key, value) in settings {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count = count.saturating_add(1);
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        command
    }

    /// A git command in the repository.
    fn in_repo(&self, args: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("-C").arg(self.target).args(args);
        command
    }

    /// Runs a command; its output is part of the turn's output.
    fn run(&self, mut command: Command, name: &str) -> Result<(), SetupFailure> {
        let status = command.status().map_err(|error| self.cannot_run(&error))?;
        if status.success() {
            return Ok(());
        }
        let command = format!("cannot provide {}: `git {name}`", self.repo.url);
        Err(SetupFailure::of_command(&command, status, self.stderr))
    }

    /// Runs a query; its output is not part of the turn's output.
    fn query(&self, args: &[&str]) -> Result<Output, SetupFailure> {
        let mut command = self.in_repo(args);
        let output = command.stderr(Stdio::null()).output();
        output.map_err(|error| self.cannot_run(&error))
    }

    /// Whether a query succeeds.
    fn succeeds(&self, args: &[&str]) -> Result<bool, SetupFailure> {
        Ok(self.query(args)?.status.success())
    }

    fn cannot_run(&self, error: &io::Error) -> SetupFailure {
        let hint = if error.kind() == io::ErrorKind::NotFound {
            "; install git"
        } else {
            ""
        };
        SetupFailure::new(format!(
            "cannot provide {}: git cannot be started: {error}{hint}",
            self.repo.url
        ))
    }

    /// Refuses a folder that is not a clone of the same repository.
    fn check_existing_clone(&self) -> Result<(), SetupFailure> {
        let target = self.target.display();
        let advice = "name another repo.dir, or remove it";
        if !self.target.join(".git").exists() {
            let text = format!("cannot clone into {target}: it is not empty and no git repository; {advice}");
            return Err(SetupFailure::new(text));
        }
        let origin = self.query(&["config", "--get", "remote.origin.url"])?;
        let origin = String::from_utf8_lossy(&origin.stdout).trim_end().to_owned();
        if is_same_repository(&origin, &self.repo.url) {
            return self.repair();
        }
        // The other URL may contain a token.
        let other = if origin.is_empty() {
            "a repository without origin".to_owned()
        } else {
            format!("a clone of {}", without_user(&origin))
        };
        Err(SetupFailure::new(format!(
            "cannot clone {} into {target}: there is {other}; {advice}",
            self.repo.url
        )))
    }

    /// Repairs a clone that was killed before it was complete.
    fn repair(&self) -> Result<(), SetupFailure> {
        if !self.succeeds(&["config", "--get", "remote.origin.fetch"])? {
            self.succeeds(&["config", "remote.origin.fetch", ALL_BRANCHES])?;
        }
        if let Some(folder) = self.git_dir()?
            && !folder.join("index").exists()
        {
            // Left by a first checkout that was killed. No other clone runs here while the folder is locked.
            let _gone = fs::remove_file(folder.join("index.lock"));
        }
        Ok(())
    }

    fn git_dir(&self) -> Result<Option<PathBuf>, SetupFailure> {
        let output = self.query(&["rev-parse", "--absolute-git-dir"])?;
        let path = String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned();
        Ok(output.status.success().then(|| PathBuf::from(path)))
    }

    fn check_out(&self, reference: &str) -> Result<(), SetupFailure> {
        let name = reference.strip_prefix("refs/heads/").unwrap_or(reference);
        let upstream = format!("refs/remotes/origin/{name}");
        let local = format!("refs/heads/{name}");
        let is_upstream = self.succeeds(&["rev-parse", "--quiet", "--verify", &upstream])?;
        if self.succeeds(&["rev-parse", "--quiet", "--verify", &local])? {
            self.run(self.in_repo(&["checkout", "--quiet", name, "--"]), "checkout")?;
            let fast_forward = self.in_repo(&["merge", "--quiet", "--ff-only", &upstream]);
            return if is_upstream {
                self.run(fast_forward, "merge --ff-only")
            } else {
                Ok(())
            };
        }
        if is_upstream {
            let create = ["checkout", "--quiet", "-b", name, "--track", &upstream];
            return self.run(self.in_repo(&create), "checkout");
        }
        let tag = format!(
            "refs/tags/{}",
            reference.strip_prefix("refs/tags/").unwrap_or(reference)
        );
        for candidate in [tag.as_str(), reference] {
            let commit = format!("{candidate}^{{commit}}");
            if self.succeeds(&["rev-parse", "--quiet", "--verify", &commit])? {
                return self.run(
                    self.in_repo(&["checkout", "--quiet", "--detach", candidate, "--"]),
                    "checkout",
                );
            }
        }
        // Not part of a clone: for example `refs/pull/1/head`, or a commit that is on no branch.
        self.run(self.in_repo(&["fetch", "origin", reference]), "fetch")?;
        self.run(
            self.in_repo(&["checkout", "--quiet", "--detach", "FETCH_HEAD", "--"]),
            "checkout",
        )
    }

    /// Checks out the default branch, unless something is checked out already.
    fn check_out_default(&self) -> Result<(), SetupFailure> {
        if self.git_dir()?.is_none_or(|folder| folder.join("index").exists()) {
            return Ok(());
        }
        if !self.succeeds(&["rev-parse", "--quiet", "--verify", "HEAD"])? {
            // An earlier clone was not completed, or the repository has no commits.
            let unknown = !self.succeeds(&["remote", "set-head", "origin", "--auto"])?;
            let head = self.query(&["symbolic-ref", "--short", "refs/remotes/origin/HEAD"])?;
            let head = String::from_utf8_lossy(&head.stdout).trim_end().to_owned();
            return match head.strip_prefix("origin/") {
                Some(branch) if !unknown => self.check_out(branch),
                _ => Ok(()),
            };
        }
        self.run(self.in_repo(&["reset", "--quiet", "--hard"]), "reset")
    }
}

/// Whether two URLs name the same repository.
fn is_same_repository(one: &str, other: &str) -> bool {
    let normalize = |url: &str| {
        let url = without_user(url).trim_end_matches('/').to_owned();
        url.strip_suffix(".git").map(str::to_owned).unwrap_or(url)
    };
    normalize(one) == normalize(other)
}

/// The URL without user name and password, which may be secret.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) if scheme != "ssh" => format!("{scheme}://{}", rest.get(at.saturating_add(1)..).unwrap_or_default()),
        Some(_) | None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such a server sends five bytes every five seconds, which curl rounds to zero bytes per second.
    #[test]
    fn slow_server_is_not_cut_off() {
        let repo = RepoRequest {
            url: "https://h/a/b".to_owned(),
            ..RepoRequest::default()
        };
        let (target, stderr) = (Path::new("/nonexistent"), StepStderr::default());
        let git = Git {
            repo: &repo,
            target,
            stderr: &stderr,
        };
        let value = |key: &str| {
            let mut command = git.command();
            let output = command
                .args(["config", "--get", key])
                .current_dir("/")
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
        };
        assert_eq!(value("http.lowSpeedLimit"), 1);
        assert!(value("http.lowSpeedTime") >= 600);
        assert!(value("http.keepAliveIdle") <= 60);
    }

    #[test]
    fn spellings_of_a_url_name_the_same_repository() {
        assert!(is_same_repository("https://h/a/b.git", "https://h/a/b"));
        assert!(is_same_repository("https://h/a/b/", "https://h/a/b.git"));
        assert!(is_same_repository("https://user:token@h/a/b", "https://h/a/b"));
        assert!(!is_same_repository("https://h/a/b", "https://h/a/c"));
        assert!(!is_same_repository("ssh://git@h/a/b", "https://h/a/b"));
        assert!(!is_same_repository("", "https://h/a/b"));
    }

    #[test]
    fn origin_is_shown_without_its_token() {
        assert_eq!(without_user("https://x:s3cret@h/a@b"), "https://h/a@b");
        assert_eq!(without_user("git@h:a"), "git@h:a");
    }
}
