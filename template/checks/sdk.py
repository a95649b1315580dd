"""What the SDKs and the CLI of E2B make of the template: each check is a function whose name is its promise."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from platform_stand_in import Platform  # `platform` is the standard library's

TEMPLATE = Path(__file__).resolve().parent.parent
ROOT = TEMPLATE.parent
VARIANTS = json.loads((TEMPLATE / "variants.json").read_text())
BINARY = "target/x86_64-unknown-linux-gnu/dist/promptd"
PLATFORM = Platform()
ENV = {
    **os.environ,
    "E2B_API_URL": PLATFORM.url,
    "E2B_API_KEY": f"e2b_{'0' * 40}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "NO_COLOR": "1",
}


def context(folder):
    """A copy of what a build reads, since `migrate` renames files; the binary is a stand-in."""
    root = Path(folder) / "context"
    ignore = shutil.ignore_patterns("node_modules", ".venv", "__pycache__")
    shutil.copytree(TEMPLATE, root / "template", ignore=ignore)
    (root / "template/node_modules").symlink_to(TEMPLATE / "node_modules")
    for name in ("Dockerfile", ".dockerignore", "e2b.toml"):
        shutil.copy2(ROOT / name, root)
    (root / BINARY).parent.mkdir(parents=True)
    (root / BINARY).write_text("a stand-in\n")
    (root / BINARY).chmod(0o755)
    # What must not be sent along.
    (root / "target/debug").mkdir()
    (root / "target/debug/promptd").write_text("not this one\n")
    return root


def run(*command, cwd, fails=False):
    done = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True, timeout=120)
    assert (done.returncode != 0) == fails, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def asked(*command, cwd):
    """What a build asks the platform for."""
    PLATFORM.take()
    run(*command, cwd=cwd)
    return PLATFORM.take()


def e2b(*arguments):
    return ("node", str(TEMPLATE / "node_modules/@e2b/cli/dist/index.js"), *arguments)


def steps(build):
    """Steps without hashes, with single blanks, and with COPY's source and target alone."""
    for step in build["steps"]:
        args = [" ".join(arg.split()) for arg in step["args"]]
        yield step["type"], args[:2] if step["type"] == "COPY" else args


def sent(whole):
    """The files that were uploaded: name to (is a folder, mode)."""
    files = {}
    for members in whole["uploads"].values():
        files |= members
    return files


def both_languages_ask_for_the_same(root):
    for name, says in VARIANTS.items():
        ts, py = (
            asked(*program, name, cwd=root)
            for program in (("node", "template/template.ts"), (sys.executable, "template/template.py"))
        )
        assert sent(ts) == sent(py), f"{name}: {sent(ts)}\n{sent(py)}"
        for whole in (ts, py):
            for step in whole["build"]["steps"]:
                step.pop("filesHash", None)
        assert ts["template"] == py["template"], f"{name}: {ts['template']}\n{py['template']}"
        assert ts["build"] == py["build"], f"{name}: {ts['build']}\n{py['build']}"
        looks_right(name, says, py)


def looks_right(name, says, whole):
    template, build = whole["template"], whole["build"]
    assert template["name"] == f"promptd-{name}"
    for key, ours in (("cpuCount", "cpu"), ("memoryMB", "memory")):
        assert template[key] == says.get(ours, template[key]), f"{name}: {template}"
    base = ("fromTemplate", "fromImage")["template" not in says]
    assert build[base] == says.get("template", VARIANTS["minimal"]["image"]), build
    assert build["startCmd"] == "/opt/promptd/start", build
    assert build["readyCmd"] == "/opt/promptd/ready", build
    told = [(step["type"], step["args"]) for step in build["steps"]]
    assert told[:2] == [("USER", ["root"]), ("WORKDIR", ["/"])], told
    assert told[-2:] == [("USER", ["user"]), ("WORKDIR", ["/home/user"])], told
    copies = [args for kind, args in told if kind == "COPY"]
    assert [args[:4] for args in copies] == [
        ["template/image", "/opt/promptd/", "root", ""],
        [BINARY, "/opt/promptd/promptd", "root", "0755"],
    ], copies
    packages = next(args[0] for kind, args in told if "apt-get install" in args[0])
    for package in says.get("apt", []):
        assert f" {package} " in packages, f"{name} lacks {package}: {packages}"


def the_files_keep_their_modes(root):
    whole = asked("node", "template/template.ts", "minimal", cwd=root)
    files = sent(whole)
    wanted = {BINARY: 0o755}
    for name in ("environment", "promptd.service", "ready", "start"):
        wanted[f"template/image/{name}"] = (0o644, 0o755)[name in ("ready", "start")]
    modes = {name: mode & ~0o022 for name, (folder, mode) in files.items() if not folder}
    assert modes == wanted, f"{ {name: oct(mode) for name, mode in modes.items()} }"


def the_dockerfile_is_what_is_rendered(root):
    run(sys.executable, "template/render", "--check", cwd=root)
    variants = root / "template/variants.json"
    text = variants.read_text()
    variants.write_text(text.replace('"gh"', '"gh", "added"'))
    told = run(sys.executable, "template/render", "--check", cwd=root, fails=True)
    assert "Dockerfile is not what" in told, told
    variants.write_text(text)


def the_dockerfile_asks_for_the_same(root):
    general = asked(sys.executable, "template/template.py", "general", cwd=root)
    wanted = list(steps(general["build"]))
    of = general["template"]
    command = e2b("template", "create", "promptd-general", "--cmd", "/opt/promptd/start")
    limits = ("--cpu-count", str(of["cpuCount"]), "--memory-mb", str(of["memoryMB"]))
    cli = asked(*command, "--ready-cmd", "/opt/promptd/ready", *limits, cwd=root)
    # The parser begins as we do.
    assert list(steps(cli["build"])) == wanted, f"{list(steps(cli['build']))}\n{wanted}"
    for key in ("startCmd", "readyCmd", "fromImage"):
        assert cli["build"][key] == general["build"][key], cli["build"]
    assert cli["template"] == of, cli["template"]
    # --chmod would be dropped, so that the modes of the files have to be right.
    assert sent(cli) == sent(general), sent(cli)


TO_JSON = {
    "TypeScript": (
        "node",
        "--input-type=module",
        "--eval",
        "import { Template } from 'e2b';"
        "const template = Template({ fileContextPath: '..' }).fromDockerfile('../Dockerfile');"
        "console.log(await Template.toJSON(template, true))",
    ),
    "Python": (
        sys.executable,
        "-c",
        "from e2b import Template;"
        "template = Template(file_context_path='..').from_dockerfile('../Dockerfile');"
        "print(Template.to_json(template))",
    ),
}


def both_parsers_understand_the_dockerfile(root):
    told = {}
    for language, command in TO_JSON.items():
        text = run(*command, cwd=root / "template")
        assert text.startswith("{"), f"{language} warns: {text}"
        build = json.loads(text)
        hashes = [len(step["filesHash"]) for step in build["steps"] if step["type"] == "COPY"]
        assert hashes == [64, 64], f"{language}: {hashes}"
        assert build["startCmd"] == "/opt/promptd/start", build["startCmd"]
        told[language] = list(steps(build))
    assert told["TypeScript"] == told["Python"], told


def a_missing_binary_is_noticed(root):
    (root / BINARY).rename(root / "elsewhere")
    for command in TO_JSON.values():
        run(*command, cwd=root / "template", fails=True)
    for program in (("node", "template/template.ts"), (sys.executable, "template/template.py")):
        told = run(*program, "minimal", cwd=root, fails=True)
        assert "cargo build --profile dist" in told, told
    (root / "elsewhere").rename(root / BINARY)


def the_old_configuration_can_be_migrated(root):
    for language, name in (("typescript", "template.ts"), ("python-sync", "template.py")):
        copy = root.parent / language
        copy.mkdir()
        for file in ("Dockerfile", "e2b.toml"):
            shutil.copy2(root / file, copy)
        told = run(*e2b("template", "migrate", "--language", language), cwd=copy)
        assert "completed" in told and "weren't able" not in told and "not found" not in told, told
        text = (copy / name).read_text()
        for part in ("debian:trixie-slim", "/opt/promptd/start", "/opt/promptd/ready", BINARY):
            assert part in text, f"{part} is not in what {language} gives:\n{text}"
    copy = root.parent / "wrong"
    copy.mkdir()
    shutil.copy2(root / "Dockerfile", copy)
    text = (root / "e2b.toml").read_text()
    (copy / "e2b.toml").write_text(text.replace("memory_mb = 4096", "memory_mb = 64"))
    told = run(*e2b("template", "migrate", "--language", "typescript"), cwd=copy, fails=True)
    assert "memory_mb must be greater than or equal to 128" in told, told


def what_is_shipped_is_what_the_tests_drive(_):
    pinned = json.loads((TEMPLATE / "versions.json").read_text())
    tests = json.loads((ROOT / "tests/agents/package.json").read_text())
    driven = tests["dependencies"] | tests.get("optionalDependencies", {})
    both = {pin["package"]: pin["version"] for pin in pinned.values() if pin["package"] in driven}
    assert len(both) >= 4, both
    for package, version in both.items():
        assert version == driven[package], f"{package}: {version} here, {driven[package]} in tests/agents"


def the_ready_command_never_hangs(_):
    ready = str(TEMPLATE / "image/ready")

    def probe(port):
        began = time.monotonic()
        done = subprocess.run([ready], env={**os.environ, "PORT": str(port)}, capture_output=True, timeout=60)
        return done.returncode, time.monotonic() - began

    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, took = probe(silent.getsockname()[1])
        assert code != 0 and took < 5, (code, took)
        port = silent.getsockname()[1]
    assert probe(port)[0] != 0, "nobody listens"

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert probe(server.server_port)[0] == 0, "it answers"
        server.shutdown()


def the_unit_is_understood(root):
    if not shutil.which("systemd-analyze"):
        assert "CI" not in os.environ, "there is no systemd-analyze, and CI may not do without"
        print("template: skipped: there is no systemd-analyze, which reads the unit")
        return
    # In the machine's own terms: it looks for the program, the user and the file of the environment.
    text = (TEMPLATE / "image/promptd.service").read_text()
    text = text.replace("/opt/promptd/promptd ", f"{shutil.which('true')} ").replace("User=user", "User=root")
    unit = root / "promptd.service"
    for text, wanted in ((text, ""), (text.replace("KillMode=process", "KillMode=nobody"), "kill mode")):
        unit.write_text(text)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
        told = "\n".join(line for line in done.stderr.splitlines() if "promptd" in line)
        assert wanted in told and bool(wanted) == bool(told), done.stderr


def the_typescript_is_well_typed(_):
    run("node", "node_modules/typescript/bin/tsc", cwd=TEMPLATE)


CHECKS = [
    the_dockerfile_is_what_is_rendered,
    both_languages_ask_for_the_same,
    the_files_keep_their_modes,
    the_dockerfile_asks_for_the_same,
    both_parsers_understand_the_dockerfile,
    a_missing_binary_is_noticed,
    the_old_configuration_can_be_migrated,
    what_is_shipped_is_what_the_tests_drive,
    the_ready_command_never_hangs,
    the_unit_is_understood,
    the_typescript_is_well_typed,
]


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = context(folder)
        for check in CHECKS:
            began = time.monotonic()
            check(root)
            print(f"template: {check.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
