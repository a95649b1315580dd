//! Precedence, refusals and reloads of the configuration, without a file or an environment.

use std::path::Path;

use clap::{Args as _, FromArgMatches as _};
use proptest::prelude::*;

use super::*;
use promptd_agents::PromptBy;
use promptd_model::PermissionMode;

fn env(pairs: &[(&str, &str)]) -> Environment {
    let home = [("HOME", "/home/user")];
    home.iter()
        .chain(pairs)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn flags(args: &[&str]) -> Flags {
    let command = Flags::augment_args(clap::Command::new("promptd").no_binary_name(true));
    let matches = command.try_get_matches_from(args).unwrap();
    Flags::from_arg_matches(&matches).unwrap()
}

fn from_file(text: &str) -> Result<Settings, ConfigError> {
    settings(Flags::default(), &env(&[]), Some(text))
}

fn tcp(text: &str) -> Listen {
    Listen::Tcp(text.parse().unwrap())
}

#[test]
fn defaults_apply_where_nothing_is_given() {
    let settings = settings(Flags::default(), &env(&[]), None).unwrap();
    assert_eq!(settings.listen, [tcp("127.0.0.1:8080")]);
    assert_eq!(settings.home, Path::new("/home/user/.promptd"));
    assert_eq!(settings.workspace, Path::new("/home/user/workspace"));
    assert_eq!(settings.config_file, Path::new("/home/user/.promptd/config.toml"));
    assert_eq!(settings.auth, AuthMode::Token);
    assert_eq!(settings.default_agent, "claude");
    assert_eq!(settings.grace, Duration::from_secs(10));
    assert!(!settings.stop_agents && !settings.insecure_public);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let file = Some("grace = 3\nlisten = \"127.0.0.1:3\"\nstop_agents = true\n[defaults]\nagent = \"from-file\"");
    let from_file = settings(Flags::default(), &env(&[]), file).unwrap();
    assert_eq!(
        (from_file.grace.as_secs(), from_file.default_agent.as_str()),
        (3, "from-file")
    );
    assert_eq!(
        (from_file.listen, from_file.stop_agents),
        (vec![tcp("127.0.0.1:3")], true)
    );

    let from_flags = settings(
        flags(&[
            "--grace=0.5",
            "--default-agent=from-flag",
            "--listen=[::1]:1",
            "--listen=localhost:4,unix:/run/p.sock",
            "--stop-agents=false",
        ]),
        &env(&[("PORT", "9000")]),
        file,
    )
    .unwrap();
    assert_eq!(
        (
            from_flags.grace,
            from_flags.default_agent.as_str(),
            from_flags.stop_agents
        ),
        (Duration::from_millis(500), "from-flag", false)
    );
    assert_eq!(
        from_flags.listen,
        [tcp("[::1]:1"), tcp("127.0.0.1:4"), Listen::Unix("/run/p.sock".into())]
    );
}

#[test]
fn every_flag_has_a_variable() {
    for arg in Flags::augment_args(clap::Command::new("promptd")).get_arguments() {
        let name = format!("PROMPTD_{}", arg.get_id().as_str().to_uppercase());
        assert_eq!(arg.get_env().and_then(std::ffi::OsStr::to_str), Some(name.as_str()));
    }
}

#[test]
fn port_listens_on_all_addresses() {
    let listen = |variables: &[(&str, &str)]| {
        settings(Flags::default(), &env(variables), Some("listen = \"127.0.0.1:1\""))
            .unwrap()
            .listen
    };
    assert_eq!(listen(&[("PORT", "9000")]), [tcp("0.0.0.0:9000")]);
    assert_eq!(listen(&[("PORT", "")]), [tcp("127.0.0.1:1")]);
    // A name that other programs use, too, such as Kubernetes for a service that is called "port".
    let flags = Flags {
        listen: vec![tcp("127.0.0.1:2")],
        ..Flags::default()
    };
    let settings = settings(flags, &env(&[("PORT", "tcp://10.0.0.1:80")]), None).unwrap();
    assert_eq!(settings.listen, [tcp("127.0.0.1:2")]);
}

#[test]
fn every_key_of_the_file_is_read() {
    let settings = from_file(
        r#"
        listen = ["0.0.0.0:80", "unix:/run/promptd.sock"]
        workspace = "~/work"
        auth = "none"
        insecure_public = true
        stop_agents = true
        grace = 1.5
        [defaults]
        agent = "mine"
        timeout = 60
        idle_timeout = 7.5
        permission = "ask"
        [limits]
        running = 2
        queued = 0
        session_bytes = 0x100000
        rate_per_minute = 30
        [agents.mine]
        command = ["my-agent", "--yes"]
        prompt = "file"
        env = { LANG = "C" }
        [agents.other]
        command = "other"
        stream = "acp"
        "#,
    )
    .unwrap();
    assert_eq!(settings.workspace, Path::new("/home/user/work"));
    assert_eq!(
        (settings.auth, settings.insecure_public, settings.stop_agents),
        (AuthMode::None, true, true)
    );
    assert_eq!(settings.default_timeout, Some(Duration::from_secs(60)));
    assert_eq!(settings.default_idle_timeout, Some(Duration::from_millis(7_500)));
    assert_eq!(settings.default_permission, PermissionMode::Ask);
    assert_eq!(
        (
            settings.limits.running,
            settings.limits.queued,
            settings.limits.session_bytes
        ),
        (2, 0, 1 << 20)
    );
    assert_eq!(settings.limits.rate_per_minute, Some(30));
    let mine = settings.agents.get("mine").unwrap();
    assert_eq!(
        (mine.command.as_slice(), mine.prompt),
        (["my-agent".to_owned(), "--yes".to_owned()].as_slice(), PromptBy::File)
    );
    assert_eq!(mine.env.get("LANG").map(String::as_str), Some("C"));
    assert_eq!(mine.stream.name, "lines");
    let other = settings.agents.get("other").unwrap();
    assert_eq!(
        (other.command.as_slice(), other.stream.name),
        (["other".to_owned()].as_slice(), "acp")
    );
}

#[test]
fn unknown_key_names_the_nearest_one() {
    let message = from_file("grace = 1\n[limits]\nrunnning = 3\n")
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "/home/user/.promptd/config.toml:3: limits.runnning is no key of the configuration; did you mean limits.running?"
    );
    let message = from_file("zzzzzzzzzzzz = 1").unwrap_err().to_string();
    assert!(
        message.contains("config.toml:1: zzzzzzzzzzzz") && message.contains("known here are listen, workspace"),
        "{message}"
    );
    let message = from_file("[agents.mine]\ncommand = [\"x\"]\npromt = \"stdin\"")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(":3: agents.mine.promt") && message.ends_with("did you mean agents.mine.prompt?"),
        "{message}"
    );
}

#[test]
fn wrong_value_says_what_would_be_right() {
    for (text, expected) in [
        ("grace = \"ten\"", ":1: grace is \"ten\": expected seconds as a number"),
        ("grace = -1", ":1: grace is -1: expected seconds"),
        ("grace = nan", "grace is nan: expected seconds"),
        (
            "\nauth = \"tokn\"",
            ":2: auth is \"tokn\": expected one of `token`, `none`, `e2b` (did you mean `token`?)",
        ),
        ("listen = 8080", "listen is 8080: expected a string"),
        (
            "listen = [\"[::1]:1\", \"8080\"]",
            ":1: listen[1]: write 127.0.0.1:8080 for this machine only, or 0.0.0.0:8080",
        ),
        ("listen = \"unix:\"", "path of a socket"),
        (
            "workspace = \"work\"",
            "workspace is \"work\": expected an absolute path",
        ),
        ("limits = 3", "limits is 3: expected a section: write [limits]"),
        (
            "[limits]\nrunning = 0",
            ":2: limits.running is 0: expected a number that is 1 or more",
        ),
        (
            "[limits]\nkeep_days = 5000000000",
            "limits.keep_days is 5000000000: expected a whole number from 0",
        ),
        ("[agents.a]\nprompt = \"stdin\"", ":1: agents.a: `command` is missing"),
        (
            "[agents.a]\ncommand = []",
            "agents.a.command: expected the program and its arguments",
        ),
        (
            "[agents.a]\ncommand = [\"x\", 3]",
            "agents.a.command[1] is 3: expected a string",
        ),
        (
            "[agents.a]\ncommand = \"x\"\nstream = \"claude-json\"",
            ":3: agents.a.stream is \"claude-json\": expected one of `lines`, `claude-stream-json`, `codex-json`, \
             `gemini-stream-json`, `acp` (did you mean `codex-json`?)",
        ),
        (
            "[agents.a]\ncommand = \"x\"\nstream = \"acp\"\nprompt = \"file\"",
            ":1: agents.a.prompt: leave it out",
        ),
        (
            "[mcp_servers.docs]\ncommand = \"x\"\nurl = \"http://y\"",
            ":1: mcp_servers.docs cannot be used: it has `command` and `url`",
        ),
        (
            "[mcp_servers.docs]\nurls = \"http://y\"",
            "did you mean mcp_servers.docs.url?",
        ),
        ("[mcp_servers.docs]\ntype = \"htp\"", "(did you mean `http`?)"),
        ("[[sinks]]\nurl = \"http://y\"", ":1: sinks[0]: `kind` is missing"),
        (
            "[[sinks]]\nkind = \"http\"\nurl = \"http://y\"\n[[sinks]]\nkind = \"http\"",
            ":4: sinks: ",
        ),
        (
            "[agents.a]\ncommand = [\"\", \"--api-key=s3cret\"]",
            ":2: agents.a.command: ",
        ),
        ("a = = 3", "config.toml:1:5: "),
    ] {
        let message = from_file(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text:?} gave {message:?}");
    }
    let args = Flags::augment_args(clap::Command::new("promptd").no_binary_name(true));
    for (arg, expected) in [
        ("--grace=soon", "write seconds as a number, such as 10 or 0.5"),
        (
            "--listen=8080",
            "write 127.0.0.1:8080 for this machine only, or 0.0.0.0:8080 for all",
        ),
        ("--auth=tokn", "a similar value exists: 'token'"),
        ("--stop-agents=perhaps", "--stop-agents"),
    ] {
        let message = args.clone().try_get_matches_from([arg]).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn mcp_servers_have_the_fields_of_a_request() {
    let text = r#"
        [mcp_servers.lab]
        command = "lab"
        args = ["-v"]
        env = { TOKEN = "s3cret" }
        [mcp_servers.docs]
        type = "sse"
        url = "https://docs/sse"
        headers = { Authorization = "Bearer s3cret" }
    "#;
    let servers = from_file(text).unwrap().mcp_servers;
    let expected = serde_json::json!({
        "lab": {"command": "lab", "args": ["-v"], "env": {"TOKEN": "s3cret"}},
        "docs": {"type": "sse", "url": "https://docs/sse", "headers": {"Authorization": "Bearer s3cret"}},
    });
    assert_eq!(serde_json::to_value(servers).unwrap(), expected);
    let message = from_file("[mcp_servers.docs]\nurl = 12345").unwrap_err().to_string();
    assert!(
        message.contains("mcp_servers.docs.url") && !message.contains("12345"),
        "{message}"
    );
}

#[test]
fn errors_do_not_contain_secret_values() {
    let message = from_file("[agents.a]\ncommand = \"x\"\nenv = { KEY = 12345 }")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("agents.a.env.KEY: expected a string") && !message.contains("12345"),
        "{message}"
    );
}

#[test]
fn no_authentication_in_public_must_be_confirmed() {
    let open = |listen: &str, insecure_public| {
        let flags = Flags {
            listen: vec![listen.parse().unwrap()],
            auth: Some(AuthMode::None),
            insecure_public: Some(insecure_public),
            ..Flags::default()
        };
        settings(flags, &env(&[]), None)
    };
    assert!(matches!(
        open("0.0.0.0:80", false),
        Err(ConfigError::PublicWithoutAuth { .. })
    ));
    assert!(open("0.0.0.0:80", true).is_ok());
    for private in ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "unix:/run/x"] {
        assert!(open(private, false).is_ok(), "{private}");
    }
}

#[test]
fn the_token_variable_takes_several_tokens() {
    let settings = settings(Flags::default(), &env(&[("PROMPTD_TOKEN", "one, two\nthree\n")]), None).unwrap();
    assert_eq!(settings.env_tokens.unwrap(), ["one", "two", "three"]);
}

#[test]
fn the_token_variable_takes_digests() {
    let of = |token: &str| settings(Flags::default(), &env(&[("PROMPTD_TOKEN", token)]), None);
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(of(&digest).unwrap().env_tokens.unwrap(), [digest.as_str()]);
    let message = of("sha256:s3cret").unwrap_err().to_string();
    assert!(
        message.starts_with("PROMPTD_TOKEN") && !message.contains("s3cret"),
        "{message}"
    );
}

#[test]
fn e2b_authentication_may_listen_in_public() {
    let settings = from_file("auth = \"e2b\"\nlisten = \"0.0.0.0:80\"").unwrap();
    assert_eq!(
        (settings.auth, settings.platform.envd.as_str()),
        (AuthMode::E2b, "http://127.0.0.1:49983")
    );
}

#[test]
fn missing_home_names_the_flag_to_give() {
    let message = settings(Flags::default(), &Environment::new(), None)
        .unwrap_err()
        .to_string();
    assert!(message.ends_with("give --home"), "{message}");
    let flags = Flags {
        home: Some("/h".into()),
        workspace: Some("/w".into()),
        ..Flags::default()
    };
    assert!(settings(flags, &Environment::new(), None).is_ok());
}

#[test]
fn a_named_file_must_exist() {
    let flags = Flags {
        config: Some("/nonexistent/promptd.toml".into()),
        ..Flags::default()
    };
    assert!(matches!(load(flags, &env(&[])), Err(ConfigError::Read { .. })));
    assert!(
        load(
            Flags {
                home: Some("/nonexistent".into()),
                ..Flags::default()
            },
            &env(&[])
        )
        .is_ok()
    );
}

/// Pieces from which a file of almost the right shape can be put together.
const PIECES: &[&str] = &[
    "listen",
    "grace",
    "auth",
    "workspace",
    "[limits]",
    "[defaults]",
    "[agents.x]",
    "[[agents]]",
    "running",
    "command",
    "env",
    "prompt",
    " = ",
    "\n",
    "3",
    "-1",
    "1e400",
    "\"text\"",
    "'~/x'",
    "[",
    "]",
    "{",
    "}",
    ",",
    "true",
    "inf",
    "0xff",
    "1979-05-27",
    ".",
    "ä",
    "#",
    "\"\"\"",
];

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in "\\PC*") {
        let _settings = from_file(&text);
    }

    #[test]
    fn almost_valid_files_are_read_without_panic(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40)) {
        if let Err(error) = from_file(&pieces.concat()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
