// Many prompts, each in a sandbox of its own, a few at a time: AT_ONCE=5 node fan-out.ts PROMPT…
// Ctrl-C ends what waits, and every sandbox is killed; a second one ends this program at once.

import { client, create, interrupted } from "./sandbox.ts";

const agent = process.env.AGENT ?? "claude";
const atOnce = Number(process.env.AT_ONCE ?? 5);
const prompts = process.argv.slice(2).entries();
const failures: string[] = [];

async function run(prompt: string): Promise<string> {
  const machine = await create();
  try {
    const promptd = client(machine);
    const { id } = await promptd.create({ agent, prompt });
    for await (const record of promptd.events(id)) {
      if (record.type === "turn_ended" && record.status !== "completed") throw new Error(record.cause ?? record.status);
    }
    return (await promptd.session(id)).turns[0]?.result ?? "";
  } finally {
    await machine.sandbox.kill();
  }
}

async function work(): Promise<void> {
  for (const [number, prompt] of prompts) {
    if (interrupted.aborted) return;
    try {
      console.log(`${number} completed ${await run(prompt)}`.trimEnd());
    } catch (error) {
      failures.push(`${number} failed: ${error instanceof Error ? error.message : error}`);
    }
  }
}

await Promise.all(Array.from({ length: atOnce }, work));
for (const failure of failures) console.error(failure);
process.exitCode = interrupted.aborted ? 130 : failures.length > 0 ? 1 : 0;
