// `process.Process/Start`, in which the SDK's `commands.run` starts a command: Connect's stream of JSON messages.

import { spawn } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";
import { environment, type Sandbox } from "./sandbox.ts";

type Start = { process: { cmd: string; args?: string[]; envs?: Record<string, string>; cwd?: string } };

/** The flag of a stream's last message. */
const END = 2;

export async function start(sandbox: Sandbox, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  // One message: a byte of flags, four of length, JSON.
  const { process: wanted } = JSON.parse(Buffer.concat(chunks).subarray(5).toString()) as Start;

  response.writeHead(200, { "content-type": "application/connect+json" });
  const send = (message: object, flags = 0) => {
    const body = Buffer.from(JSON.stringify(message));
    const head = Buffer.alloc(5);
    head.writeUInt8(flags);
    head.writeUInt32BE(body.length, 1);
    response.write(Buffer.concat([head, body]));
  };
  // Not as a login shell: this machine's profile would put its own programs first.
  const args = (wanted.args ?? []).filter((word) => word !== "-l");
  const child = spawn(wanted.cmd, args, {
    cwd: wanted.cwd ?? sandbox.home,
    env: { ...sandbox.envs, ...environment(sandbox.home), ...wanted.envs },
    stdio: ["ignore", "pipe", "pipe"],
  });
  send({ event: { start: { pid: child.pid ?? 0 } } });
  child.stdout.on("data", (data: Buffer) => send({ event: { data: { stdout: data.toString("base64") } } }));
  child.stderr.on("data", (data: Buffer) => send({ event: { data: { stderr: data.toString("base64") } } }));
  child.on("close", (code, signal) => {
    const status = signal ? `signal: ${signal}` : `exit status ${code}`;
    send({ event: { end: { exitCode: code ?? -1, exited: signal === null, status } } });
    send({}, END);
    response.end();
  });
}
