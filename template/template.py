#!/usr/bin/env python3
"""Builds a variant of variants.json as an E2B template: `python3 template/template.py general [NAME]`.

template.ts says the same in TypeScript; `template/check` fails when the two do not ask for the same.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VARIANTS = json.loads((HERE / "variants.json").read_text())
VERSIONS = json.loads((HERE / "versions.json").read_text())
REGISTRY = "https://registry.npmjs.org"
BINARY = "target/x86_64-unknown-linux-gnu/dist/promptd"
START = "/opt/promptd/start"
READY = "/opt/promptd/ready"


def variant(name):
    """A variant over the one below it: lists grow, everything else is replaced."""
    if name not in VARIANTS:
        sys.exit(f"there is no variant {name!r}; there are {', '.join(VARIANTS)}")
    top = VARIANTS[name]
    whole = variant(top["over"]) if "over" in top else {}
    for key, value in top.items():
        whole[key] = whole.get(key, []) + value if isinstance(value, list) else value
    return whole


def commands(of):
    """What is run as root before promptd comes in: (what for, command)."""
    packages = " ".join(sorted(of["apt"]))
    yield (
        "Packages.",
        "apt-get update"
        f" && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {packages}"
        " && rm -rf /var/lib/apt/lists/*",
    )
    yield (
        "The user that the server and its agents run as.",
        "id user || useradd --create-home --shell /bin/bash user",
    )
    yield "Where agents work.", "install -d -o user -g user /home/user/workspace"
    if of["npm"]:
        node, npm = VERSIONS["node"], VERSIONS["npm"]
        modules = "/usr/local/lib/node_modules"
        yield (
            "Node, from the registry that the agents come from.",
            f"curl -fsSL {tarball(node)} | tar -xz -C /usr/local --strip-components=1 package/bin/node"
            f" && mkdir -p {modules}/npm"
            f" && curl -fsSL {tarball(npm)} | tar -xz -C {modules}/npm --strip-components=1"
            f" && ln -sf {modules}/npm/bin/npm-cli.js /usr/local/bin/npm"
            f" && ln -sf {modules}/npm/bin/npx-cli.js /usr/local/bin/npx",
        )
        pins = [VERSIONS[name] for name in sorted(of["npm"])]
        packages = " ".join(f"{pin['package']}@{pin['version']}" for pin in pins)
        finish = "".join(
            f" && node /opt/agents/lib/node_modules/{pin['package']}/{pin['install']}"
            for pin in pins
            if "install" in pin
        )
        yield (
            "Agents. No package script runs but those that put a native binary in its place.",
            "/usr/local/bin/npm install --global --prefix /opt/agents --ignore-scripts --no-audit --no-fund "
            f"{packages}{finish} && ln -s /opt/agents/bin/* /usr/bin/",
        )
    for command in of["run"]:
        yield "", command


def tarball(pin):
    base = pin["package"].rsplit("/", 1)[-1]
    return f"{REGISTRY}/{pin['package']}/-/{base}-{pin['version']}.tgz"


def define(template, of):
    """All steps, from root in / on. `template` is E2B's builder, or whatever else has its methods."""
    for _, command in commands(of):
        template = template.run_cmd(command)
    return (
        # Outside /usr/local, which the platform makes writable for everybody.
        template.copy("template/image", "/opt/promptd/", user="root")
        .copy(BINARY, "/opt/promptd/promptd", user="root", mode=0o755)
        .run_cmd(
            "mkdir -p /etc/systemd/system/multi-user.target.wants"
            " && ln -sf /opt/promptd/promptd.service /etc/systemd/system/promptd.service"
            " && ln -sf ../promptd.service /etc/systemd/system/multi-user.target.wants/promptd.service"
            " && ln -sf /opt/promptd/promptd /usr/bin/promptd"
        )
        .set_user("user")
        .set_workdir("/home/user")
    )


def template(of):
    from e2b import Template

    empty = Template(file_context_path=ROOT)
    base = empty.from_template(of["template"]) if "template" in of else empty.from_image(of["image"])
    return define(base.set_user("root").set_workdir("/"), of).set_start_cmd(START, READY)


def main():
    from e2b import Template, default_build_logger

    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: template.py VARIANT [NAME]\nvariants: {', '.join(VARIANTS)}")
    if not (ROOT / BINARY).is_file():
        sys.exit(f"{BINARY} is missing; `cargo build --profile dist` makes it")
    name = sys.argv[2] if len(sys.argv) > 2 else f"promptd-{sys.argv[1]}"
    of = variant(sys.argv[1])
    built = Template.build(
        template(of),
        name,
        cpu_count=of["cpu"],
        memory_mb=of["memory"],
        on_build_logs=default_build_logger(),
    )
    print(f"{name}: template {built.template_id}, build {built.build_id}")


if __name__ == "__main__":
    main()
