"""An agent on ACP's official Python library: repeats the prompt, as the library's own example does."""

import asyncio
from uuid import uuid4

from acp import (
    Agent,
    InitializeResponse,
    NewSessionResponse,
    PromptResponse,
    run_agent,
    text_block,
    update_agent_message,
)


class Echo(Agent):
    def on_connect(self, conn):
        self.client = conn

    async def initialize(self, protocol_version, client_capabilities=None, client_info=None, **kwargs):
        return InitializeResponse(protocol_version=protocol_version)

    async def new_session(self, cwd, mcp_servers=None, **kwargs):
        return NewSessionResponse(session_id=uuid4().hex)

    async def prompt(self, prompt, session_id, **kwargs):
        for block in prompt:
            message = update_agent_message(text_block("You said: " + block.text))
            await self.client.session_update(session_id=session_id, update=message)
        return PromptResponse(stop_reason="end_turn")


asyncio.run(run_agent(Echo()))
