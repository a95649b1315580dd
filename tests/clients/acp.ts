// ACP's own TypeScript library as a client of promptd: `node acp.ts ws://HOST/v1/acp CWD [SESSION]`.
//
// Without a session it begins one, prompts it, answers the agent's question with `yes`, and cancels a second prompt; with
// one, it loads it. It prints one JSON document of what it heard.

import * as acp from "@agentclientprotocol/sdk";
import { createWebSocketStream } from "@agentclientprotocol/sdk/experimental/ws-client";

const [url, cwd, known] = process.argv.slice(2);
if (url === undefined || cwd === undefined) throw new Error("usage: acp.ts URL CWD [SESSION]");

const updates: acp.SessionUpdate[] = [];
const questions: acp.RequestPermissionRequest[] = [];

const app = acp
  .client({ name: "promptd-test" })
  .onNotification("session/update", ({ params }) => void updates.push(params.update))
  .onRequest("session/request_permission", ({ params }) => {
    questions.push(params);
    return { outcome: { outcome: "selected", optionId: "yes" } };
  });

const heard = await app.connectWith(createWebSocketStream(url), async (agent) => {
  const about = await agent.request("initialize", { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities: {} });
  if (known !== undefined) {
    await agent.request("session/load", { sessionId: known, cwd, mcpServers: [] });
    return { about, session: known, ends: [] };
  }
  const { sessionId } = await agent.request("session/new", { cwd, mcpServers: [] });
  const prompt = (text: string) => agent.request("session/prompt", { sessionId, prompt: [{ type: "text", text }] });
  const first = await prompt("go");
  const second = prompt("please hang");
  await agent.notify("session/cancel", { sessionId });
  return { about, session: sessionId, ends: [first.stopReason, (await second).stopReason] };
});

console.log(JSON.stringify({ ...heard, updates, questions }));
process.exit(0);
