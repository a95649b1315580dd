// One job, with everything that may come in between: node job.ts [PROMPT] [FOLLOW-UP]

import { writeFileSync } from "node:fs";
import { Sandbox } from "e2b";
import { bytes, type Promptd, type JournalRecord } from "./promptd.ts";
import { client, create, LIFETIME } from "./sandbox.ts";

const agent = process.env.AGENT ?? "claude";
const [, , prompt = "Write a haiku about pipes into haiku.txt.", followUp = "Now one about sockets."] = process.argv;

const machine = await create();
try {
  console.log(`sandbox ${machine.sandbox.sandboxId}`);
  let promptd = client(machine);
  const { id } = await promptd.create({ agent, prompt });
  console.log(`session ${id}`);

  // The agent does not depend on who looks: leave in the middle, and come back with the last `seq`.
  let seq = await watch(promptd, id, 0, (record) => record.type === "stdout");
  console.log(`disconnected after ${seq}`);
  seq = await watch(promptd, id, seq, (record) => record.type === "stdout" || record.type === "turn_ended");

  // In a paused sandbox nothing runs; its processes, memory and files stay as they are.
  await machine.sandbox.pause();
  console.log(`paused after ${seq}`);
  machine.sandbox = await Sandbox.connect(machine.sandbox.sandboxId, { timeoutMs: LIFETIME });
  promptd = client(machine);
  console.log("resumed");
  seq = await watch(promptd, id, seq);

  await promptd.prompt(id, followUp);
  await watch(promptd, id, seq);
  for (const { turn, status, result } of (await promptd.session(id)).turns) {
    console.log(`turn ${turn} ${status}${result ? `: ${result}` : ""}`);
  }

  const { files, diff } = await promptd.artifacts(id);
  console.log(`changed: ${files.map(({ path }) => path).join(", ")}`);
  if (diff) console.log(diff);
  writeFileSync(`${id}.tar.gz`, await promptd.download(id, "tar.gz"));
  console.log(`saved ${id}.tar.gz`);
} finally {
  await machine.sandbox.kill();
  console.log("killed");
}

type Enough = (record: JournalRecord) => boolean;

/** Shows records until one is enough, or no turn runs any more; answers the last one's `seq`. */
async function watch(promptd: Promptd, id: string, after: number, enough: Enough = () => false): Promise<number> {
  for await (const record of promptd.events(id, after)) {
    after = record.seq;
    const { seq, type } = record;
    if (type === "stdout" || type === "stderr") process.stdout.write(`${seq}: ${bytes(record)}`);
    if (enough(record)) break;
  }
  return after;
}
