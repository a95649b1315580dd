// A promptd in a sandbox of E2B: created from the template that template/template.ts builds, and configured.

import { randomBytes } from "node:crypto";
import { Sandbox } from "e2b";
import { type Address, Promptd } from "./promptd.ts";

const TEMPLATE = process.env.PROMPTD_TEMPLATE ?? "promptd-general";
const PORT = Number(process.env.PROMPTD_PORT ?? 8080);
/** What the agents need; those that are set here go along. */
const KEYS = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GITHUB_TOKEN"];

/** A sandbox's life, in milliseconds. Traffic does not prolong it; `sandbox.setTimeout` does. */
export const LIFETIME = 3600_000;

const interrupt = new AbortController();
/** Ctrl-C, or the end of a CI job: what waits for a sandbox ends, so that the sandbox can be killed. */
export const interrupted = interrupt.signal;
for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => interrupt.abort(new Error("interrupted")));

export type Machine = { sandbox: Sandbox; token: string };

/**
 * A new sandbox whose promptd takes requests with our token. Whoever calls this has to kill it. It does not end by
 * itself when it is interrupted: only a sandbox that has been created can be killed.
 */
export async function create(): Promise<Machine> {
  const token = process.env.PROMPTD_TOKEN ?? randomBytes(32).toString("base64url");
  const keys = KEYS.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []));
  // The server was started when the template was built, so these do not reach it; they reach what is run from now on.
  const envs = { ...Object.fromEntries(keys), PROMPTD_TOKEN: token };
  // Every port of a sandbox is public otherwise, those of what agents start among them.
  const network = { allowPublicTraffic: false };
  const sandbox = await Sandbox.create(TEMPLATE, { envs, network, timeoutMs: LIFETIME });
  try {
    // Hands its own environment to the server. The `envs` of `commands.run` would be in the platform's logs.
    await sandbox.commands.run("promptd configure");
  } catch (error) {
    await sandbox.kill();
    throw error;
  }
  return { sandbox, token };
}

export function client({ sandbox, token }: Machine): Promptd {
  return new Promptd({ ...address(sandbox), token }, interrupted);
}

function address(sandbox: Sandbox): Address {
  // What opens the platform's door to a sandbox that is not public; promptd's own token opens promptd.
  const { trafficAccessToken } = sandbox;
  const headers: { [name: string]: string } = trafficAccessToken ? { "e2b-traffic-access-token": trafficAccessToken } : {};
  // The SDK's debug mode: there is no sandbox, only this machine.
  if (process.env.E2B_DEBUG === "true") return { url: `http://${sandbox.getHost(PORT)}` };
  // The SDK's way around the platform's host names: one address, and headers that say which sandbox and port.
  const url = process.env.E2B_SANDBOX_URL;
  if (url) {
    return { url, headers: { ...headers, "E2b-Sandbox-Id": sandbox.sandboxId, "E2b-Sandbox-Port": String(PORT) } };
  }
  return { url: `https://${sandbox.getHost(PORT)}`, headers };
}
