"""Many prompts, each in a sandbox of its own, a few at a time: AT_ONCE=5 python fan_out.py PROMPT…

Ctrl-C ends what waits, and every sandbox is killed; a second one ends this program at once.
"""

import asyncio
import os
import sys

from sandbox import machine, run

AGENT = os.environ.get("AGENT", "claude")
AT_ONCE = int(os.environ.get("AT_ONCE", "5"))


async def work(prompt: str) -> str:
    async with machine() as computer, computer.client() as promptd:
        session = (await promptd.create(agent=AGENT, prompt=prompt))["id"]
        async for record in promptd.events(session):
            if record.type == "turn_ended" and record.fields["status"] != "completed":
                raise RuntimeError(record.fields.get("cause") or record.fields["status"])
        return (await promptd.session(session))["turns"][0].get("result") or ""


async def main() -> int:
    room = asyncio.Semaphore(AT_ONCE)
    failures: list[str] = []

    async def take(number: int, prompt: str) -> None:
        async with room:
            try:
                print(f"{number} completed {await work(prompt)}".rstrip(), flush=True)
            except Exception as error:
                failures.append(f"{number} failed: {error}")

    async with asyncio.TaskGroup() as tasks:
        for number, prompt in enumerate(sys.argv[1:]):
            tasks.create_task(take(number, prompt))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


run(main())
