// The same code in E2B, in a container, or at any promptd: WHERE=e2b|docker|URL node hybrid.ts [PROMPT]
//
// docker: an image of the Dockerfile at the top, `docker build -t promptd .`; URL: PROMPTD_TOKEN opens it.

import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { bytes, Promptd } from "./promptd.ts";
import { client, create, interrupted } from "./sandbox.ts";

type Place = { promptd: Promptd; leave: () => Promise<unknown> };

async function enter(where: string): Promise<Place> {
  if (where === "e2b") {
    const machine = await create();
    return { promptd: client(machine), leave: () => machine.sandbox.kill() };
  }
  if (where === "docker") return container(process.env.PROMPTD_IMAGE ?? "promptd");
  return { promptd: new Promptd({ url: where, token: process.env.PROMPTD_TOKEN }, interrupted), leave: async () => {} };
}

async function container(image: string): Promise<Place> {
  const token = randomBytes(32).toString("base64url");
  // Named and not given: so the values are in no command line.
  const keys = ["PROMPTD_TOKEN", "ANTHROPIC_API_KEY"].flatMap((name) => ["--env", name]);
  // A digest, which promptd takes as well: all that runs in a container can read its first process's environment.
  const digest = `sha256:${createHash("sha256").update(token).digest("hex")}`;
  const env = { ...process.env, PROMPTD_TOKEN: digest };
  const docker = async (...args: string[]) => (await promisify(execFile)("docker", args, { env })).stdout.trim();
  const id = await docker("run", "--detach", "--init", "--publish", "127.0.0.1::8080", ...keys, image);
  const leave = () => docker("rm", "--force", id);
  try {
    const [address] = (await docker("port", id, "8080/tcp")).split("\n");
    return { promptd: new Promptd({ url: `http://${address}`, token }, interrupted), leave };
  } catch (error) {
    await leave();
    throw error;
  }
}

const { promptd, leave } = await enter(process.env.WHERE ?? "e2b");
try {
  const [prompt = "Say hello."] = process.argv.slice(2);
  const { id } = await promptd.create({ agent: process.env.AGENT ?? "claude", prompt });
  for await (const record of promptd.events(id)) {
    if (record.type === "stdout") process.stdout.write(bytes(record));
    if (record.type === "turn_ended") console.log(record.status);
  }
} finally {
  await leave();
}
