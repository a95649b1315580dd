//! The session's repository: cloned, or brought up to date where it is there already.
//!
//! All of it is git's own work. The token is in the environment of these processes, from where a credential helper
//! of one line hands it to git, and to nobody but the scheme, host and port of the repository's URL; it stands in no
//! argument, no configuration file and no URL. Nothing that an earlier session left is ever thrown away: what does not
//! fit ends the setup, and git's own words say why.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::setup::{Failure, Said};
use promptd_model::RepoRequest;

/// What a clone brings; one that was ended in its middle has not been told yet.
const ALL_BRANCHES: &str = "+refs/heads/*:refs/remotes/origin/*";

/// How a repository's step is called.
pub(super) fn in_words(repo: &RepoRequest) -> String {
    let reference = repo
        .reference
        .as_deref()
        .map_or_else(String::new, |name| format!(" at {name}"));
    format!("git clone {}{reference}", repo.url)
}

/// Sees to it that `target` holds the repository, at what was asked for.
pub(super) fn provide(repo: &RepoRequest, base: &Path, target: &Path, said: &Said) -> Result<(), Failure> {
    stays_inside(base, target)?;
    // Two sessions that begin in the same folder at once do so one after the other.
    let (_lock, made) = lock(target)?;
    let git = Git { repo, target, said };
    let provided = git.provide(base);
    if made && provided.is_err() {
        // Where nothing came into it, it need not stay; whoever waits for it makes it anew.
        let _not_empty = fs::remove_dir(target);
    }
    provided
}

/// Takes the folder's lock, for as long as a clone into it may take, and says so where it has to wait. True where the
/// folder was not there, and has been made.
fn lock(target: &Path) -> Result<(Flock<File>, bool), Failure> {
    let failed = |error: io::Error| cannot_use(target, &error);
    loop {
        fs::create_dir_all(target.parent().unwrap_or(target)).map_err(failed)?;
        let made = match fs::create_dir(target) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(failed(error)),
        };
        let folder = File::open(target).map_err(failed)?;
        let lock = match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((folder, Errno::EWOULDBLOCK)) => {
                eprintln!("waiting for another clone into {}", target.display());
                Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        // Whoever had it may have removed the folder, and then it is the lock of none.
        let ours = lock.metadata().map_err(failed)?;
        match fs::metadata(target) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => return Ok((lock, made)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(_) | Err(_) => {}
        }
    }
}

fn cannot_use(target: &Path, error: &io::Error) -> Failure {
    Failure::new(format!(
        "cannot use {}: {error}; name another repo.dir",
        target.display()
    ))
}

/// Refuses a target that symbolic links lead out of the base.
fn stays_inside(base: &Path, target: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot_use(target, &error);
    fs::create_dir_all(base).map_err(failed)?;
    let real_base = fs::canonicalize(base).map_err(failed)?;
    let there = target
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok())
        .unwrap_or(base);
    if fs::canonicalize(there).map_err(failed)?.starts_with(&real_base) {
        return Ok(());
    }
    let text = "a symbolic link leads out of the session's cwd; name another repo.dir";
    Err(Failure::new(format!("cannot clone into {}: {text}", target.display())))
}

fn is_empty(target: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(target)?.next().is_none())
}

struct Git<'a> {
    repo: &'a RepoRequest,
    target: &'a Path,
    said: &'a Said,
}

impl Git<'_> {
    fn provide(&self, base: &Path) -> Result<(), Failure> {
        let target = self.target;
        if is_empty(target).map_err(|error| cannot_use(target, &error))? {
            let mut clone = self.command();
            clone
                .args(["clone", "--no-checkout", "--", &self.repo.url])
                .arg(target)
                .current_dir(base);
            self.run(clone, "clone")?;
        } else {
            self.is_a_clone()?;
            let fetch = self.within(&["fetch", "--force", "--tags", "origin", ALL_BRANCHES]);
            self.run(fetch, "fetch")?;
        }
        match &self.repo.reference {
            Some(reference) => self.check_out(reference),
            None => self.check_out_default(),
        }
    }

    /// `git`, which asks nobody and knows the token.
    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.stdin(Stdio::null()).env("GIT_TERMINAL_PROMPT", "0");
        // A repository that this process happens to stand in is not the one that is meant.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        let mut settings = vec![
            ("advice.detachedHead".to_owned(), "false".to_owned()),
            // A connection that died in a pause is given up: git 2.50 and newer ask whether anybody is there …
            ("http.keepAliveIdle".to_owned(), "15".to_owned()),
            ("http.keepAliveInterval".to_owned(), "15".to_owned()),
            ("http.keepAliveCount".to_owned(), "2".to_owned()),
            // … and older ones wait. Not shorter: a server that puts a large repository together says five bytes each
            // five seconds meanwhile (git's `uploadpack.keepAlive`), for minutes.
            ("http.lowSpeedLimit".to_owned(), "1".to_owned()),
            ("http.lowSpeedTime".to_owned(), "600".to_owned()),
        ];
        if let (Some(variable), Some(scope)) = (&self.repo.token_env, self.repo.origin()) {
            // An empty one forgets all helpers that are configured: none of them is to keep the token.
            settings.push(("credential.helper".to_owned(), String::new()));
            let user = self.repo.user();
            // The shell's own printf: the token is in no argument of any process.
            let helper = format!(
                "!f() {{ test \"$1\" = get && printf 'username=%s\\npassword=%s\\n' {user} \"${variable}\"; }}; f"
            );
            settings.push((format!("credential.{scope}.helper"), helper));
            // Nobody is asked where the token is not taken, and nothing that is traced shows it.
            command.env("GIT_ASKPASS", "true").env("GIT_TRACE_REDACT", "1");
        }
        let given = std::env::var("GIT_CONFIG_COUNT")
            .ok()
            .and_then(|count| count.parse().ok());
        let mut count: usize = given.unwrap_or(0);
        for (key, value) in settings {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count = count.saturating_add(1);
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        command
    }

    fn within(&self, args: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("-C").arg(self.target).args(args);
        command
    }

    /// Runs with its output among the turn's.
    fn run(&self, mut command: Command, name: &str) -> Result<(), Failure> {
        let status = command.status().map_err(|error| self.cannot_run(&error))?;
        if status.success() {
            return Ok(());
        }
        let what = format!("cannot provide {}: `git {name}`", self.repo.url);
        Err(Failure::ended(&what, status, self.said.last_line()))
    }

    /// Asks git something; its answer goes nowhere else.
    fn ask(&self, args: &[&str]) -> Result<Output, Failure> {
        let mut command = self.within(args);
        let output = command.stderr(Stdio::null()).output();
        output.map_err(|error| self.cannot_run(&error))
    }

    fn holds(&self, args: &[&str]) -> Result<bool, Failure> {
        Ok(self.ask(args)?.status.success())
    }

    fn cannot_run(&self, error: &io::Error) -> Failure {
        let hint = if error.kind() == io::ErrorKind::NotFound {
            "; install git"
        } else {
            ""
        };
        Failure::new(format!(
            "cannot provide {}: git cannot be started: {error}{hint}",
            self.repo.url
        ))
    }

    /// Refuses a folder that is something else than an earlier clone of the same.
    fn is_a_clone(&self) -> Result<(), Failure> {
        let target = self.target.display();
        let advice = "name another repo.dir, or remove it";
        if !self.target.join(".git").exists() {
            let text = format!("cannot clone into {target}: it is not empty and no git repository; {advice}");
            return Err(Failure::new(text));
        }
        let origin = self.ask(&["config", "--get", "remote.origin.url"])?;
        let origin = String::from_utf8_lossy(&origin.stdout).trim_end().to_owned();
        if same(&origin, &self.repo.url) {
            return self.mend();
        }
        // The other one may have been cloned with a token in its URL.
        let other = if origin.is_empty() {
            "a repository without origin".to_owned()
        } else {
            format!("a clone of {}", without_user(&origin))
        };
        Err(Failure::new(format!(
            "cannot clone {} into {target}: there is {other}; {advice}",
            self.repo.url
        )))
    }

    /// Makes of a clone that was ended in its middle one that can go on.
    fn mend(&self) -> Result<(), Failure> {
        if !self.holds(&["config", "--get", "remote.origin.fetch"])? {
            self.holds(&["config", "remote.origin.fetch", ALL_BRANCHES])?;
        }
        if let Some(folder) = self.git_dir()?
            && !folder.join("index").exists()
        {
            // Left by a first checkout that was killed; nobody else begins here while we hold the lock.
            let _gone = fs::remove_file(folder.join("index.lock"));
        }
        Ok(())
    }

    fn git_dir(&self) -> Result<Option<PathBuf>, Failure> {
        let output = self.ask(&["rev-parse", "--absolute-git-dir"])?;
        let path = String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned();
        Ok(output.status.success().then(|| PathBuf::from(path)))
    }

    fn check_out(&self, reference: &str) -> Result<(), Failure> {
        let name = reference.strip_prefix("refs/heads/").unwrap_or(reference);
        let upstream = format!("refs/remotes/origin/{name}");
        let local = format!("refs/heads/{name}");
        let is_upstream = self.holds(&["rev-parse", "--quiet", "--verify", &upstream])?;
        if self.holds(&["rev-parse", "--quiet", "--verify", &local])? {
            self.run(self.within(&["checkout", "--quiet", name, "--"]), "checkout")?;
            let forward = self.within(&["merge", "--quiet", "--ff-only", &upstream]);
            return if is_upstream {
                self.run(forward, "merge --ff-only")
            } else {
                Ok(())
            };
        }
        if is_upstream {
            let create = ["checkout", "--quiet", "-b", name, "--track", &upstream];
            return self.run(self.within(&create), "checkout");
        }
        let tag = format!(
            "refs/tags/{}",
            reference.strip_prefix("refs/tags/").unwrap_or(reference)
        );
        for candidate in [tag.as_str(), reference] {
            let commit = format!("{candidate}^{{commit}}");
            if self.holds(&["rev-parse", "--quiet", "--verify", &commit])? {
                return self.run(
                    self.within(&["checkout", "--quiet", "--detach", candidate, "--"]),
                    "checkout",
                );
            }
        }
        // What a plain clone does not bring: `refs/pull/1/head`, or a commit that no branch holds.
        self.run(self.within(&["fetch", "origin", reference]), "fetch")?;
        self.run(
            self.within(&["checkout", "--quiet", "--detach", "FETCH_HEAD", "--"]),
            "checkout",
        )
    }

    /// The default branch, where nothing is checked out yet; what an earlier session is at stays as it is.
    fn check_out_default(&self) -> Result<(), Failure> {
        if self.git_dir()?.is_none_or(|folder| folder.join("index").exists()) {
            return Ok(());
        }
        if !self.holds(&["rev-parse", "--quiet", "--verify", "HEAD"])? {
            // An earlier clone was ended in its middle, or there is no commit at all.
            let unknown = !self.holds(&["remote", "set-head", "origin", "--auto"])?;
            let head = self.ask(&["symbolic-ref", "--short", "refs/remotes/origin/HEAD"])?;
            let head = String::from_utf8_lossy(&head.stdout).trim_end().to_owned();
            return match head.strip_prefix("origin/") {
                Some(branch) if !unknown => self.check_out(branch),
                _ => Ok(()),
            };
        }
        self.run(self.within(&["reset", "--quiet", "--hard"]), "reset")
    }
}

/// The same repository, by its URL.
fn same(one: &str, other: &str) -> bool {
    let plain = |url: &str| {
        let url = without_user(url).trim_end_matches('/').to_owned();
        url.strip_suffix(".git").map(str::to_owned).unwrap_or(url)
    };
    plain(one) == plain(other)
}

/// A URL without what may be a secret in it.
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

    /// It says five bytes each five seconds meanwhile, which curl takes for no byte each second.
    #[test]
    fn a_server_that_puts_a_large_repository_together_is_waited_for() {
        let repo = RepoRequest {
            url: "https://h/a/b".to_owned(),
            ..RepoRequest::default()
        };
        let (target, said) = (Path::new("/nonexistent"), Said::default());
        let git = Git {
            repo: &repo,
            target,
            said: &said,
        };
        let asked = |key: &str| {
            let mut command = git.command();
            let output = command
                .args(["config", "--get", key])
                .current_dir("/")
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<u32>().unwrap()
        };
        assert_eq!(asked("http.lowSpeedLimit"), 1);
        assert!(asked("http.lowSpeedTime") >= 600);
        assert!(asked("http.keepAliveIdle") <= 60);
    }

    #[test]
    fn the_same_repository_is_known_under_its_spellings() {
        assert!(same("https://h/a/b.git", "https://h/a/b"));
        assert!(same("https://h/a/b/", "https://h/a/b.git"));
        assert!(same("https://user:token@h/a/b", "https://h/a/b"));
        assert!(!same("https://h/a/b", "https://h/a/c"));
        assert!(!same("ssh://git@h/a/b", "https://h/a/b"));
        assert!(!same("", "https://h/a/b"));
    }

    #[test]
    fn a_foreign_origin_is_told_without_its_token() {
        assert_eq!(without_user("https://x:s3cret@h/a@b"), "https://h/a@b");
        assert_eq!(without_user("git@h:a"), "git@h:a");
    }
}
