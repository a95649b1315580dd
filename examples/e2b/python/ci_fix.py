"""Has an agent work on a repository, and is that agent to whoever runs it: its output, its exit code.

    REPO_URL=https://github.com/owner/name python ci_fix.py [PROMPT]

REPO_REF is the branch, tag or commit; SETUP a command that is run before, such as "npm ci"; GITHUB_TOKEN, if the
repository is private, stays out of command lines, logs and .git/config. PATCH names a file for what was changed.
"""

import os
import sys
from pathlib import Path
from typing import Any

from sandbox import machine, run

PROMPT = "The tests of this repository fail. Find out why, and fix it."
# Where the agent has none, because it was ended before it could.
CODES = {"completed": 0, "timed_out": 124, "cancelled": 130}


def request() -> dict[str, Any]:
    repo = {"url": os.environ.get("REPO_URL") or sys.exit("REPO_URL is missing, such as https://github.com/owner/name")}
    if reference := os.environ.get("REPO_REF"):
        repo["ref"] = reference
    if os.environ.get("GITHUB_TOKEN"):
        repo["token_env"] = "GITHUB_TOKEN"
    setup = [os.environ["SETUP"]] if os.environ.get("SETUP") else []
    prompt = sys.argv[1] if len(sys.argv) > 1 else PROMPT
    return {"agent": os.environ.get("AGENT", "claude"), "prompt": prompt, "repo": repo, "setup": setup, "timeout": 1800}


async def main() -> int:
    wanted = request()
    async with machine() as computer, computer.client() as promptd:
        session = (await promptd.create(**wanted))["id"]
        started = False
        async for record in promptd.events(session):
            if record.type == "started":
                started = True
            if record.type == "setup":
                step, of, command = (record.fields[name] for name in ("step", "of", "command"))
                print(f"setup {step}/{of}: {command}", file=sys.stderr)
            if record.type in ("stdout", "stderr"):
                # What is written before the agent has started is the setup's.
                stream = sys.stdout if started and record.type == "stdout" else sys.stderr
                stream.buffer.write(record.output)
                stream.flush()
        turn = (await promptd.session(session))["turns"][0]
        if turn.get("cause"):
            print(f"{turn['status']}: {turn['cause']}", file=sys.stderr)
        if patch := os.environ.get("PATCH"):
            Path(patch).write_bytes(await promptd.download(session, "patch"))
        code = turn.get("exit_code")
        return CODES.get(turn["status"], 1) if code is None else code


run(main())
