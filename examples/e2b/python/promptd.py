"""A client of promptd: requests that survive the platform's waking up, and a stream that goes on where it broke off."""

import asyncio
import base64
import json
import random
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

import httpx

# How long a sandbox may take to wake up before a request is given up.
PATIENCE = 60.0
# promptd writes a comment every 15 s: a stream that is silent for longer than this is dead.
SILENCE = httpx.Timeout(30, read=45)


@dataclass(frozen=True)
class Address:
    """Where a promptd is, and what opens it."""

    url: str
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A record of the journal; `fields` is what its type has. Pass over types that you do not know."""

    seq: int
    time: str
    turn: int
    type: str
    fields: dict[str, Any]

    @property
    def output(self) -> bytes:
        """The bytes of a `stdout` or `stderr` record."""
        if "base64" in self.fields:
            data = base64.b64decode(self.fields["base64"])
        else:
            data = self.fields.get("data", "").encode()
        return data if self.fields.get("eol") is False else data + b"\n"


class Turn(TypedDict):
    turn: int
    status: str
    cause: NotRequired[str | None]
    exit_code: NotRequired[int | None]
    result: NotRequired[str | None]


class Session(TypedDict):
    id: str
    agent: str
    status: str
    last_seq: int
    cwd: str
    turns: list[Turn]


class ChangedFile(TypedDict):
    path: str
    status: str


class Artifacts(TypedDict):
    cwd: str
    files: list[ChangedFile]
    # For people, and there only in a git repository.
    diff: NotRequired[str | None]


class Refused(Exception):
    """promptd said no. What the platform's proxies say never becomes one of these."""

    def __init__(self, status: int, code: str, detail: str):
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


class Unreachable(Exception):
    """The platform's proxies answered, as they had no sandbox or no open port."""


class Promptd:
    def __init__(self, address: Address):
        headers = dict(address.headers)
        if address.token:
            headers["authorization"] = f"Bearer {address.token}"
        self._http = httpx.AsyncClient(base_url=address.url, headers=headers, timeout=30)

    async def __aenter__(self) -> "Promptd":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def create(self, **request: Any) -> Session:
        """Creates a session; with a prompt, its first turn begins. A request that is sent twice starts one agent."""
        return (await self._call("POST", "/v1/sessions", {"id": str(uuid.uuid4()), **request})).json()

    async def prompt(self, session: str, prompt: str) -> int:
        """The next turn; answers its number."""
        return (await self._call("POST", f"/v1/sessions/{session}/prompts", {"prompt": prompt})).json()["turn"]

    async def session(self, session: str) -> Session:
        return (await self._call("GET", f"/v1/sessions/{session}")).json()

    async def artifacts(self, session: str) -> Artifacts:
        """What the turns changed in the working directory."""
        return (await self._call("GET", f"/v1/sessions/{session}/artifacts")).json()

    async def download(self, session: str, format: Literal["tar.gz", "patch"]) -> bytes:
        """The changed files themselves, as a tar.gz; or what changed in a git repository, for `git apply`."""
        return (await self._call("GET", f"/v1/sessions/{session}/artifacts?format={format}")).content

    async def events(self, session: str, after: int = 0) -> AsyncGenerator[Record, None]:
        """The records after `after`, as they are written, until no turn runs any more.

        Whatever happens to the connection, each comes once and in order. Leave the loop whenever you like; what you
        keep is the last `seq`.
        """
        while True:
            answer = await self._stream(f"/v1/sessions/{session}/events?after={after}")
            try:
                async for kind, data in _events_of(answer):
                    if kind == "end":
                        return
                    fields = json.loads(data)
                    after = fields.pop("seq")
                    yield Record(after, fields.pop("time"), fields.pop("turn"), fields.pop("type"), fields)
            except httpx.TransportError:
                pass  # It broke off; the next one goes on after the last record.
            finally:
                await answer.aclose()
            await asyncio.sleep(0.25)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        # The same key at every try, so that what arrives twice is done once.
        headers = {"idempotency-key": str(uuid.uuid4())} if body is not None else {}
        return await self._answer(self._http.build_request(method, path, json=body, headers=headers))

    async def _stream(self, path: str) -> httpx.Response:
        headers = {"accept": "text/event-stream"}
        return await self._answer(self._http.build_request("GET", path, headers=headers, timeout=SILENCE), stream=True)

    async def _answer(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        delay = 0.1
        while True:
            try:
                answer = await self._http.send(request, stream=stream)
                if answer.is_success:
                    return answer
                await answer.aread()
                wrong: Exception = _refusal(answer)
            except httpx.TransportError as error:
                wrong = error
            # Only what may be otherwise in a moment: no connection, the platform's proxies, a promptd that restarts.
            if (isinstance(wrong, Refused) and wrong.status != 503) or time.monotonic() > deadline:
                raise wrong
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(2 * delay, 3)


def _refusal(answer: httpx.Response) -> Exception:
    """promptd has its version on every answer. What has none is from a proxy, which had no sandbox or no open port."""
    if "promptd-version" not in answer.headers:
        return Unreachable(f"{answer.status_code} from the platform: {answer.text[:200]}")
    problem = answer.json() if answer.content else {}
    return Refused(answer.status_code, problem.get("code", "unknown"), problem.get("detail", answer.text))


async def _events_of(answer: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    """Server-sent events. A stream that breaks off ends or raises: what is incomplete then is not an event."""
    event: dict[str, str] = {}
    async for line in _lines(answer):
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            if "event" in event:
                yield event["event"], event.get("data", "")
            event = {}


async def _lines(answer: httpx.Response) -> AsyncIterator[str]:
    """Ended by a newline only: JSON may hold other characters at which `aiter_lines` would break."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()
