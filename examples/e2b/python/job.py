"""One job, with everything that may come in between: python job.py [PROMPT] [FOLLOW-UP]"""

import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from e2b import AsyncSandbox

from promptd import Promptd, Record
from sandbox import LIFETIME, machine, run

AGENT = os.environ.get("AGENT", "claude")
PROMPTS = ["Write a haiku about pipes into haiku.txt.", "Now one about sockets."]


async def main() -> int:
    prompt, follow_up = sys.argv[1:3] + PROMPTS[len(sys.argv) - 1 :]
    async with machine() as computer:
        print(f"sandbox {computer.sandbox.sandbox_id}")
        async with computer.client() as promptd:
            session = (await promptd.create(agent=AGENT, prompt=prompt))["id"]
            print(f"session {session}")

            # The agent does not depend on who looks: leave in the middle, and come back with the last `seq`.
            seq = await watch(promptd, session, 0, lambda record: record.type == "stdout")
            print(f"disconnected after {seq}")
            seq = await watch(promptd, session, seq, lambda record: record.type in ("stdout", "turn_ended"))

        # In a paused sandbox nothing runs; its processes, memory and files stay as they are.
        await computer.sandbox.pause()
        print(f"paused after {seq}")
        computer.sandbox = await AsyncSandbox.connect(computer.sandbox.sandbox_id, timeout=LIFETIME)
        print("resumed")
        async with computer.client() as promptd:
            seq = await watch(promptd, session, seq)
            await promptd.prompt(session, follow_up)
            await watch(promptd, session, seq)
            for turn in (await promptd.session(session))["turns"]:
                print(f"turn {turn['turn']} {turn['status']}" + (f": {turn['result']}" if turn.get("result") else ""))

            artifacts = await promptd.artifacts(session)
            print("changed:", ", ".join(file["path"] for file in artifacts["files"]))
            if diff := artifacts.get("diff"):
                print(diff)
            Path(f"{session}.tar.gz").write_bytes(await promptd.download(session, "tar.gz"))
            print(f"saved {session}.tar.gz")
    print("killed")
    return 0


async def watch(promptd: Promptd, session: str, after: int, enough: Callable[[Record], bool] = lambda _: False) -> int:
    """Shows records until one is enough, or no turn runs any more; answers the last one's `seq`."""
    async with aclosing(promptd.events(session, after)) as records:
        async for record in records:
            after = record.seq
            if record.type in ("stdout", "stderr"):
                print(f"{record.seq}: {record.output.decode(errors='replace')}", end="", flush=True)
            if enough(record):
                break
    return after


run(main())
