// ACP's own TypeScript library as a client of promptd: `node acp.ts ws://HOST/v1/acp CWD PLAN`.
//
// A plan is JSON. Without a `session` it begins one with `meta`, prompts it with `say`, and cancels a second prompt,
// `hang`, once the agent has begun to answer; with one, it loads it, and prompts it with `say` where there is one. The
// agent's questions are answered with the option that allows it once. It prints one JSON document of what it heard.

import * as acp from "@agentclientprotocol/sdk";
import { createWebSocketStream } from "@agentclientprotocol/sdk/experimental/ws-client";

type Plan = { session?: string; meta?: Record<string, unknown>; say?: string; hang?: string };

const [url, cwd, text] = process.argv.slice(2);
if (url === undefined || cwd === undefined || text === undefined) throw new Error("usage: acp.ts URL CWD PLAN");
const plan: Plan = JSON.parse(text);

const updates: acp.SessionUpdate[] = [];
const questions: acp.RequestPermissionRequest[] = [];
let answers = () => {};

const app = acp
  .client({ name: "promptd-test" })
  .onNotification("session/update", ({ params }) => {
    updates.push(params.update);
    if (params.update.sessionUpdate === "agent_message_chunk") answers();
  })
  .onRequest("session/request_permission", ({ params }) => {
    questions.push(params);
    const option = params.options.find(({ kind }) => kind === "allow_once");
    return { outcome: option ? { outcome: "selected", optionId: option.optionId } : { outcome: "cancelled" } };
  });

const heard = await app.connectWith(createWebSocketStream(url), async (agent) => {
  const about = await agent.request("initialize", { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities: {} });
  const prompt = async (sessionId: string, text: string) => {
    const { stopReason } = await agent.request("session/prompt", { sessionId, prompt: [{ type: "text", text }] });
    return stopReason;
  };
  if (plan.session !== undefined) {
    await agent.request("session/load", { sessionId: plan.session, cwd, mcpServers: [] });
    const replayed = [...updates];
    const ends = plan.say === undefined ? [] : [await prompt(plan.session, plan.say)];
    return { about, session: plan.session, ends, replayed };
  }
  const { sessionId } = await agent.request("session/new", { cwd, mcpServers: [], _meta: plan.meta });
  const first = await prompt(sessionId, plan.say ?? "");
  const begun = new Promise<void>((resolve) => (answers = resolve));
  const second = prompt(sessionId, plan.hang ?? "");
  await begun;
  await agent.notify("session/cancel", { sessionId });
  return { about, session: sessionId, ends: [first, await second] };
});

console.log(JSON.stringify({ ...heard, updates, questions }));
process.exit(0);
