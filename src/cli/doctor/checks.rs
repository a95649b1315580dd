//! The checks, one function each.

use std::path::Path;

use nix::sys::inotify::{InitFlags, Inotify};
use nix::unistd::{AccessFlags, access};

use super::{Check, access};
use crate::cli::client;
use crate::runtime::{AgentInfo, Listen, Settings, agents, configured, is_sandbox, version};
use promptd_sys as sys;

/// The keys that agents read, and whose they are; only whether they are set is ever told.
const KEYS: &[(&str, &[&str])] = &[
    (
        "claude",
        &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"],
    ),
    ("codex", &["OPENAI_API_KEY", "CODEX_API_KEY"]),
    ("gemini", &["GEMINI_API_KEY", "GOOGLE_API_KEY"]),
    ("qwen", &["OPENAI_API_KEY"]),
    (
        "copilot",
        &[
            "COPILOT_GITHUB_TOKEN",
            "GH_TOKEN",
            "GITHUB_TOKEN",
            "COPILOT_PROVIDER_API_KEY",
        ],
    ),
    ("droid", &["FACTORY_API_KEY"]),
];

/// The kernel's own default; each running turn needs one instance, and so does the server.
const ENOUGH_INOTIFY_INSTANCES: u64 = 128;

pub(super) fn all(settings: &Settings) -> Vec<Check> {
    let agents = agents(settings);
    let mut checks = vec![configuration(settings)];
    checks.extend(agents_installed(&agents));
    let configured = configured(settings);
    checks.extend(keys(&agents, &configured.environment));
    checks.push(access::auth(settings, configured.tokens));
    checks.extend(access::token_file(settings));
    checks.push(git(which::which("git").ok().as_deref()));
    checks.push(writable("workspace", &settings.workspace, "--workspace"));
    checks.push(writable("home", &settings.home, "--home"));
    checks.push(disk(settings));
    checks.push(inotify());
    checks.push(cgroup());
    checks.push(platform(settings));
    checks.push(server(settings));
    checks
}

fn configuration(settings: &Settings) -> Check {
    let file = settings.config_file.display();
    let there = if settings.config_file.exists() {
        format!("{file} is read")
    } else {
        format!("no {file}; defaults and environment")
    };
    let listen = settings.listen.iter().map(|listen| match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    });
    let listen = listen.collect::<Vec<_>>().join(", ");
    Check::ok("configuration", format!("{there}; serve would listen on {listen}"))
}

/// Asks all of them at once: a version can take a second.
fn agents_installed(agents: &[AgentInfo]) -> Vec<Check> {
    let mut checks: Vec<Check> = std::thread::scope(|scope| {
        let asked: Vec<_> = agents.iter().map(|info| (info, scope.spawn(|| agent(info)))).collect();
        let answers = asked.into_iter().map(|(info, answer)| {
            answer
                .join()
                .unwrap_or_else(|_| Check::warn(agent_name(info), "could not be asked", "try again"))
        });
        answers.collect()
    });
    if agents.iter().all(|agent| agent.path.is_none() || agent.name == "shell") {
        checks.push(Check::fail(
            "agents",
            "no coding agent is installed",
            "install one, such as `npm install -g @anthropic-ai/claude-code`",
        ));
    }
    checks
}

fn agent_name(info: &AgentInfo) -> String {
    format!("agent {}", info.name)
}

fn agent(info: &AgentInfo) -> Check {
    let name = agent_name(info);
    let Some(path) = &info.path else {
        let missing = info.missing.clone().unwrap_or_else(|| "not installed".to_owned());
        let hint = info.install.as_ref().map_or_else(
            || format!("check its command under [agents.{}]", info.name),
            |install| format!("install it with `{install}`"),
        );
        // What is configured is wanted; of the agents that we know, one is enough.
        return if info.configured || info.name == "shell" {
            Check::fail(name, missing, hint)
        } else {
            Check::warn(name, missing, hint)
        };
    };
    let place = path.display();
    if info.configured {
        // We cannot know what an unknown program makes of `--version`.
        return Check::ok(name, place.to_string());
    }
    match version(path) {
        Ok(version) => Check::ok(name, format!("{version} ({place})")),
        Err(problem) => Check::warn(
            name,
            format!("{place} is there, but --version {problem}"),
            "run it by hand and see what it says",
        ),
    }
}

fn keys(agents: &[AgentInfo], configured: &[String]) -> Vec<Check> {
    let wanted = KEYS
        .iter()
        .filter(|(agent, _)| agents.iter().any(|info| info.name == *agent && info.path.is_some()));
    wanted.map(|(agent, names)| key(agent, names, configured)).collect()
}

fn key(agent: &str, names: &[&str], configured: &[String]) -> Check {
    let set = names
        .iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let name = format!("key for {agent}");
    if let Some(told) = names.iter().find(|&&name| configured.iter().any(|told| told == name)) {
        return Check::ok(name, format!("{told} is configured"));
    }
    match (set, names.first()) {
        (Some(set), _) => Check::ok(name, format!("{set} is set")),
        (None, first) => Check::warn(
            name,
            format!("none of {} is set", names.join(", ")),
            format!(
                "set {} and run promptd configure, give it with a session's `env`, or log in with {agent} itself",
                first.unwrap_or(&"one")
            ),
        ),
    }
}

/// Not every session needs it.
fn git(path: Option<&Path>) -> Check {
    const NAME: &str = "git";
    match path {
        Some(path) => Check::ok(NAME, path.display().to_string()),
        None => Check::warn(
            NAME,
            "not on PATH: no session can have a repo, and artifacts have no diff",
            "install it, such as with `apt-get install git`",
        ),
    }
}

/// Looks without making anything: a folder that is missing is made on first use.
fn writable(name: &str, path: &Path, flag: &str) -> Check {
    let shown = path.display();
    let Some(there) = path.ancestors().find(|ancestor| ancestor.exists()) else {
        return Check::fail(
            name,
            format!("{shown} cannot be found"),
            format!("give another folder with {flag}"),
        );
    };
    if !there.is_dir() {
        return Check::fail(
            name,
            format!("{} is no folder", there.display()),
            format!("remove it, or give another folder with {flag}"),
        );
    }
    match access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) if there == path => Check::ok(name, format!("{shown} is writable")),
        Ok(()) => Check::ok(name, format!("{shown} will be made")),
        Err(error) => Check::fail(
            name,
            format!("{} is not writable: {}", there.display(), error.desc()),
            format!("change its owner, or give another folder with {flag}"),
        ),
    }
}

fn disk(settings: &Settings) -> Check {
    const NAME: &str = "disk";
    let Some(there) = settings.home.ancestors().find(|ancestor| ancestor.exists()) else {
        return Check::warn(
            NAME,
            "the home's file system cannot be found",
            "give another folder with --home",
        );
    };
    let wanted = settings.limits.min_free_bytes;
    match sys::disk_space(there) {
        Ok(space) if space.free < wanted => {
            let detail = format!(
                "{} free, and limits.min_free_bytes is {}: agents would be frozen",
                mebibytes(space.free),
                mebibytes(wanted)
            );
            Check::fail(NAME, detail, "free some, or lower the limit")
        }
        Ok(space) => Check::ok(
            NAME,
            format!(
                "{} free of {}; the limit is {}",
                mebibytes(space.free),
                mebibytes(space.total),
                mebibytes(wanted)
            ),
        ),
        Err(error) => Check::warn(
            NAME,
            format!("cannot tell what is free: {error}"),
            "check that the home's file system works",
        ),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn inotify() -> Check {
    const NAME: &str = "inotify";
    const HINT: &str = "raise it: sysctl fs.inotify.max_user_instances=1024";
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let limit_text = limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string());
    match Inotify::init(InitFlags::IN_CLOEXEC) {
        Err(error) => Check::warn(
            NAME,
            format!(
                "no instance left (limit {limit_text}): {}; journals are looked at on a timer",
                error.desc()
            ),
            HINT,
        ),
        Ok(_) if limit.is_some_and(|limit| limit < ENOUGH_INOTIFY_INSTANCES) => {
            Check::warn(NAME, format!("only {limit_text} instances per user"), HINT)
        }
        Ok(_) => Check::ok(NAME, format!("{limit_text} instances per user")),
    }
}

/// Without a cgroup of our own a stop sweeps the process tree instead, which also works.
fn cgroup() -> Check {
    const NAME: &str = "cgroup";
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let root = Path::new("/sys/fs/cgroup");
    match own {
        Some(own) if root.join("cgroup.controllers").exists() => {
            let folder = root.join(own.trim_start_matches('/'));
            if access(&folder, AccessFlags::W_OK).is_ok()
                && access(&folder.join("cgroup.procs"), AccessFlags::W_OK).is_ok()
            {
                Check::ok(NAME, format!("v2, {} is ours", folder.display()))
            } else {
                Check::ok(
                    NAME,
                    format!("v2, {} is not ours; a stop sweeps the process tree", folder.display()),
                )
            }
        }
        _ => Check::ok(NAME, "no v2; a stop sweeps the process tree"),
    }
}

/// As the server itself sees it.
fn platform(settings: &Settings) -> Check {
    const NAME: &str = "platform";
    let machine = nix::sys::utsname::uname().map_or_else(
        |_| "Linux".to_owned(),
        |name| {
            format!(
                "{} {} {}",
                name.sysname().to_string_lossy(),
                name.release().to_string_lossy(),
                name.machine().to_string_lossy()
            )
        },
    );
    Check::ok(
        NAME,
        if is_sandbox(&settings.platform) {
            format!("E2B sandbox, {machine}")
        } else {
            machine
        },
    )
}

fn server(settings: &Settings) -> Check {
    let place = client::socket_path(&settings.home);
    if client::is_serving(&settings.home) {
        Check::ok("server", format!("answers on {place}"))
    } else {
        Check::ok(
            "server",
            format!("none on {place}; `promptd run` hosts one itself, `promptd serve` starts one"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_folder_that_is_missing_is_judged_by_where_it_would_be_made() {
        let missing = std::env::temp_dir().join("promptd-doctor/not/there");
        let check = writable("home", &missing, "--home");
        assert_eq!((check.state, check.detail.ends_with("will be made")), (State::Ok, true));
        assert_eq!(
            writable("home", Path::new("/proc/version/x"), "--home").state,
            State::Fail
        );
    }

    #[test]
    fn a_missing_git_is_told_and_fails_nothing() {
        assert_eq!(git(Some(Path::new("/usr/bin/git"))).state, State::Ok);
        let missing = git(None);
        assert!(missing.state == State::Warn && missing.detail.contains("repo") && missing.hint.is_some());
    }

    #[test]
    fn only_the_name_of_a_key_is_told() {
        let check = key("x", &["PROMPTD_SURELY_NOT_SET", "PATH"], &[]);
        assert_eq!((check.state, check.detail.as_str()), (State::Ok, "PATH is set"));
        assert_eq!(key("x", &["PROMPTD_SURELY_NOT_SET"], &[]).state, State::Warn);
        let configured = key("x", &["TOLD"], &["TOLD".to_owned()]);
        assert_eq!(
            (configured.state, configured.detail.as_str()),
            (State::Ok, "TOLD is configured")
        );
    }

    #[test]
    fn an_agent_that_is_missing_comes_with_the_command_that_installs_it() {
        let info = AgentInfo {
            name: "claude".into(),
            path: None,
            install: Some("npm install -g x".into()),
            configured: false,
            evidence: None,
            capabilities: promptd_agents::Capabilities::default(),
            missing: Some("no claude on PATH".into()),
        };
        let check = agent(&info);
        assert_eq!(
            (check.state, check.hint.as_deref()),
            (State::Warn, Some("install it with `npm install -g x`"))
        );
    }
}
