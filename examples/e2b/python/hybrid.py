"""The same code in E2B, in a container, or at any promptd: WHERE=e2b|docker|URL python hybrid.py [PROMPT]

docker: an image of the Dockerfile at the top, `docker build -t promptd .`; URL: PROMPTD_TOKEN opens it.
"""

import asyncio
import hashlib
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from promptd import Address, Promptd
from sandbox import machine, run


@asynccontextmanager
async def place(where: str) -> AsyncIterator[Promptd]:
    if where == "e2b":
        async with machine() as computer, computer.client() as promptd:
            yield promptd
    elif where == "docker":
        async with container(os.environ.get("PROMPTD_IMAGE", "promptd")) as address, Promptd(address) as promptd:
            yield promptd
    else:
        async with Promptd(Address(where, os.environ.get("PROMPTD_TOKEN"))) as promptd:
            yield promptd


@asynccontextmanager
async def container(image: str) -> AsyncIterator[Address]:
    token = secrets.token_urlsafe(32)
    # Named and not given: so the values are in no command line.
    keys = ["--env", "PROMPTD_TOKEN", "--env", "ANTHROPIC_API_KEY"]
    # A digest, which promptd takes as well: all that runs in a container can read its first process's environment.
    digest = f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"
    env = {**os.environ, "PROMPTD_TOKEN": digest}

    async def docker(*words: str) -> str:
        process = await asyncio.create_subprocess_exec("docker", *words, env=env, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"docker {words[0]} ended with {process.returncode}")
        return output.decode().strip()

    name = await docker("run", "--detach", "--init", "--publish", "127.0.0.1::8080", *keys, image)
    try:
        address = (await docker("port", name, "8080/tcp")).splitlines()[0]
        yield Address(f"http://{address}", token)
    finally:
        await asyncio.shield(docker("rm", "--force", name))


async def main() -> int:
    async with place(os.environ.get("WHERE", "e2b")) as promptd:
        prompt = sys.argv[1] if len(sys.argv) > 1 else "Say hello."
        session = (await promptd.create(agent=os.environ.get("AGENT", "claude"), prompt=prompt))["id"]
        async for record in promptd.events(session):
            if record.type == "stdout":
                print(record.output.decode(errors="replace"), end="", flush=True)
            if record.type == "turn_ended":
                print(record.fields["status"])
    return 0


run(main())
