"""A promptd in a sandbox of E2B: created from the template that template/template.py builds, and configured."""

import asyncio
import os
import secrets
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from e2b import AsyncSandbox, SandboxNetworkOpts

from promptd import Address, Promptd

TEMPLATE = os.environ.get("PROMPTD_TEMPLATE", "promptd-general")
PORT = int(os.environ.get("PROMPTD_PORT", "8080"))
# What the agents need; those that are set here go along.
KEYS = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GITHUB_TOKEN"]
# A sandbox's life, in seconds. Traffic does not prolong it; `sandbox.set_timeout` does.
LIFETIME = 3600


@dataclass
class Machine:
    sandbox: AsyncSandbox
    token: str

    def client(self) -> Promptd:
        return Promptd(_address(self.sandbox, self.token))


@asynccontextmanager
async def machine() -> AsyncIterator[Machine]:
    """A new sandbox whose promptd takes requests with our token; it is killed at the end, whatever ends it."""
    # Not left in the middle when we are interrupted: only a sandbox that has been created can be killed.
    creating = asyncio.create_task(_create())
    try:
        created = await asyncio.shield(creating)
        # Hands its own environment to the server. The `envs` of `commands.run` would be in the platform's logs.
        await created.sandbox.commands.run("promptd configure")
        yield created
    finally:
        await asyncio.shield(_kill(creating))


async def _create() -> Machine:
    token = os.environ.get("PROMPTD_TOKEN") or secrets.token_urlsafe(32)
    keys = {name: os.environ[name] for name in KEYS if os.environ.get(name)}
    # The server was started when the template was built, so these do not reach it; they reach what is run from now on.
    envs = {**keys, "PROMPTD_TOKEN": token}
    # Every port of a sandbox is public otherwise, those of what agents start among them.
    network: SandboxNetworkOpts = {"allow_public_traffic": False}
    sandbox = await AsyncSandbox.create(TEMPLATE, envs=envs, network=network, timeout=LIFETIME)
    return Machine(sandbox, token)


async def _kill(creating: asyncio.Task[Machine]) -> None:
    await (await creating).sandbox.kill()


def _address(sandbox: AsyncSandbox, token: str) -> Address:
    # What opens the platform's door to a sandbox that is not public; promptd's own token opens promptd.
    traffic = sandbox.traffic_access_token
    headers = {"e2b-traffic-access-token": traffic} if traffic else {}
    # The SDK's debug mode: there is no sandbox, only this machine.
    if os.environ.get("E2B_DEBUG") == "true":
        return Address(f"http://{sandbox.get_host(PORT)}", token)
    # The SDK's way around the platform's host names: one address, and headers that say which sandbox and port.
    if url := os.environ.get("E2B_SANDBOX_URL"):
        route = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": str(PORT)}
        return Address(url, token, {**headers, **route})
    return Address(f"https://{sandbox.get_host(PORT)}", token, headers)


def run(main: Coroutine[Any, Any, int]) -> NoReturn:
    """Runs a program, and exits with its code; the end of a CI job (SIGTERM) is as Ctrl-C."""
    # Also where a shell that put us into the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        code = asyncio.run(main)
    except KeyboardInterrupt:
        code = 130
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's transport (pyqwest 0.12) has threads of its own, and one that is at work while Python takes itself down
    # aborts the process: one of five runs did with Python 3.11. All is done by now, so nothing has to be taken down.
    os._exit(code)
