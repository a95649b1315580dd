//! The examples for E2B do what they say, in both languages, with the real SDKs, before a stand-in for the platform.

use std::fs::read_to_string;
use std::process::Command;

use support::examples::{Language, Platform, Running, TOKEN, examples};
use support::{Server, node, procs, promptd, touch, wait_until};

/// Each scenario, once per language.
macro_rules! in_both_languages {
    ($($scenario:ident),* $(,)?) => {
        mod typescript {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(super::Language::TypeScript).await;
            })*
        }
        mod python {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(super::Language::Python).await;
            })*
        }
    };
}

in_both_languages!(
    a_job_goes_on_after_a_disconnect_and_a_pause,
    a_job_runs_in_the_debug_mode_of_the_sdk,
    a_fan_out_keeps_its_bound_and_collects_failures,
    an_interrupted_fan_out_kills_every_sandbox,
    a_ci_job_has_the_output_and_exit_code_of_its_agent,
    the_same_code_runs_anywhere,
    a_stream_outlives_a_pause,
);

async fn a_job_goes_on_after_a_disconnect_and_a_pause(language: Language) {
    let platform = Platform::start("job", language).await;
    job(&platform, platform.example(language, "job"), None).await;
}

async fn a_job_runs_in_the_debug_mode_of_the_sdk(language: Language) {
    let platform = Platform::start("debug", language).await;
    let mut program = platform.example(language, "job");
    let port = platform.url().rsplit(':').next().unwrap().to_owned();
    program.envs([
        ("E2B_DEBUG", "true"),
        ("PROMPTD_TOKEN", TOKEN),
        ("PROMPTD_PORT", &*port),
    ]);
    job(&platform, program, Some("debug_sandbox_id")).await;
}

/// Runs the job, whose agent does not get on before its sandbox was paused and is back.
async fn job(platform: &Platform, mut program: Command, sandbox: Option<&str>) {
    let begins =
        "echo step 1; echo step 2; until [ -e ../go ]; do sleep 0.02; done; for i in 3 4 5; do echo step $i; done";
    let prompt = format!("{begins}; echo x >haiku.txt");
    program.args([&*prompt, "cat haiku.txt; echo y >>haiku.txt"]);
    let mut running = Running::start(program, &platform.folder);
    let back = |log: &str| match sandbox {
        Some(id) => log.contains(&format!("pause {id}\nwake {id}\n")),
        None => log.contains(" resumed\n"),
    };
    wait_until("a sandbox that was paused and is back", || {
        back(&platform.log()) || running.ended()
    })
    .await;
    let printed = running.stdout();
    let id = printed
        .lines()
        .find_map(|line| line.strip_prefix("sandbox "))
        .unwrap_or_else(|| panic!("{}", running.all()));
    assert!(sandbox.is_none_or(|expected| expected == id), "{printed}");
    touch(&platform.folder.join(id).join("go"));
    assert_eq!(running.code().await, Some(0), "{}\n{}", running.all(), platform.log());

    let printed = running.stdout();
    let (mut seqs, mut outputs) = (Vec::new(), Vec::new());
    for (seq, output) in printed.lines().filter_map(|line| line.split_once(": ")) {
        if let Ok(seq) = seq.parse::<u64>() {
            seqs.push(seq);
            outputs.push(output);
        }
    }
    assert_eq!(
        outputs,
        ["step 1", "step 2", "step 3", "step 4", "step 5", "x"],
        "{printed}"
    );
    assert!(seqs.is_sorted_by(|one, next| one < next), "{printed}");
    let mut rest = printed.as_str();
    for mark in [
        "session ",
        "disconnected after ",
        "paused after ",
        "resumed\n",
        "turn 1 completed",
        "turn 2 completed",
        "changed: haiku.txt\n",
        "saved ",
        ".tar.gz\n",
        "killed\n",
    ] {
        let split = rest.split_once(mark);
        rest = split.unwrap_or_else(|| panic!("no {mark:?} in {printed}")).1;
    }
    let session = printed.lines().find_map(|line| line.strip_prefix("session ")).unwrap();
    let archive = platform.folder.join(format!("{session}.tar.gz"));
    let listed = Command::new("tar").arg("-tzf").arg(&archive).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line.ends_with("haiku.txt")), "{listed}");
    if sandbox.is_none() {
        assert_eq!(platform.alive().0, 0, "{}", platform.log());
    }
}

async fn a_fan_out_keeps_its_bound_and_collects_failures(language: Language) {
    let platform = Platform::start("fan-out", language).await;
    let mut program = platform.example(language, "fan-out");
    program
        .env("AT_ONCE", "2")
        .args(["echo a", "exit 3", "echo c", "echo d", "echo e"]);
    let mut running = Running::start(program, &platform.folder);
    assert_eq!(running.code().await, Some(1), "{}", running.all());
    let printed = running.stdout();
    let mut printed: Vec<_> = printed.lines().collect();
    printed.sort_unstable();
    assert_eq!(printed, ["0 completed", "2 completed", "3 completed", "4 completed"]);
    assert_eq!(running.stderr(), "1 failed: agent_error\n");
    let log = platform.log();
    assert_eq!(log.matches("create ").count(), 5, "{log}");
    assert_eq!(platform.alive(), (0, 2), "{log}");
}

async fn an_interrupted_fan_out_kills_every_sandbox(language: Language) {
    let platform = Platform::start("interrupted", language).await;
    let mut program = platform.example(language, "fan-out");
    program.env("AT_ONCE", "2").args(["touch ../begun; sleep 600"; 3]);
    let mut running = Running::start(program, &platform.folder);
    let begun = || {
        let sandboxes = std::fs::read_dir(&platform.folder).unwrap();
        sandboxes
            .filter(|sandbox| sandbox.as_ref().unwrap().path().join("begun").exists())
            .count()
    };
    wait_until("two agents", || begun() == 2 || running.ended()).await;
    procs::signal(running.child.id().try_into().unwrap(), "INT");
    assert_eq!(running.code().await, Some(130), "{}", running.all());
    let log = platform.log();
    assert_eq!(log.matches("create ").count(), 2, "{log}");
    assert_eq!(platform.alive(), (0, 2), "{log}");
}

async fn a_ci_job_has_the_output_and_exit_code_of_its_agent(language: Language) {
    let platform = Platform::start("ci-fix", language).await;
    let repository = platform.folder.join("job.git");
    let script = "git init -q job.git && cd job.git && echo hello >README && git add README &&
        git -c user.name=test -c user.email=test@localhost commit -qm first";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(&platform.folder)
        .status()
        .unwrap();
    assert!(made.success());

    let mut program = platform.example(language, "ci-fix");
    program
        .env("REPO_URL", format!("file://{}", repository.display()))
        .env("PATCH", "the.patch");
    program
        .env("SETUP", "echo ready")
        .arg("cat README; echo careful >&2; echo fixed >README; printf end; exit 7");
    let mut running = Running::start(program, &platform.folder);
    assert_eq!(running.code().await, Some(7), "{}", running.all());
    assert_eq!(running.stdout(), "hello\nend");
    let aside = running.stderr();
    for line in ["ready", "careful", "failed: agent_error"] {
        assert!(aside.lines().any(|found| found == line), "no {line:?} in {aside}");
    }
    assert!(aside.contains(": echo ready\n"), "{aside}");
    let patch = read_to_string(platform.folder.join("the.patch")).unwrap();
    assert!(patch.contains("-hello\n+fixed\n"), "{patch}");
    assert_eq!(platform.alive().0, 0, "{}", platform.log());
}

async fn the_same_code_runs_anywhere(language: Language) {
    let platform = Platform::start("hybrid", language).await;
    let server = Server::with().env("PROMPTD_TOKEN", TOKEN).start().await;
    // `docker` is a stand-in, too.
    let programs = platform.folder.join("programs");
    std::fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(examples().join("fake/docker"), programs.join("docker")).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());

    for place in ["e2b", "docker", &*server.url] {
        let mut program = platform.example(language, "hybrid");
        program
            .env("WHERE", place)
            .env("PATH", &path)
            .env("PROMPTD", promptd())
            .env("TMPDIR", &platform.folder);
        program.env("PROMPTD_TOKEN", TOKEN).arg("echo hello");
        let mut running = Running::start(program, &platform.folder);
        assert_eq!(running.code().await, Some(0), "{place}: {}", running.all());
        assert_eq!(running.stdout(), "hello\ncompleted\n", "{place}");
    }
    assert_eq!(platform.alive(), (0, 1), "{}", platform.log());
}

async fn a_stream_outlives_a_pause(language: Language) {
    let platform = Platform::start("stream", language).await;
    let mut program = platform.example(language, "hybrid");
    program.arg("echo begun; until [ -e ../go ]; do sleep 0.02; done; echo ended");
    let mut running = Running::start(program, &platform.folder);
    wait_until("a first line", || running.stdout() == "begun\n" || running.ended()).await;
    let log = platform.log();
    let id = log
        .lines()
        .find_map(|line| line.strip_prefix("create ")?.split(' ').next());
    let id = id.unwrap_or_else(|| panic!("{log}{}", running.all()));
    // The way in is not public: the example had to show that it may.
    assert_eq!(platform.answers_strangers(id).await, 403);
    platform.post(&format!("/sandboxes/{id}/pause")).await;
    platform.post(&format!("/v2/sandboxes/{id}/connect")).await;
    touch(&platform.folder.join(id).join("go"));
    assert_eq!(running.code().await, Some(0), "{}", running.all());
    assert_eq!(running.stdout(), "begun\nended\ncompleted\n");
}

#[test]
fn typescript_examples_are_well_typed() {
    Language::TypeScript.install();
    let mut check = Command::new(node::programs().join("node"));
    check
        .arg("node_modules/typescript/bin/tsc")
        .current_dir(examples().join("typescript"));
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
