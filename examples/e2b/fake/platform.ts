// Stands in for the platform, for tests and for trying the examples without an account: the calls that the SDKs make
// for these examples, and nothing else. Every sandbox is a promptd of its own on this machine.
//
//   node platform.ts PATH_TO_PROMPTD FOLDER       says "ready http://127.0.0.1:PORT", then one line per thing done
//
// As on the platform, requests with E2b-Sandbox-Id and E2b-Sandbox-Port go to that port of that sandbox; all others
// are the API's. In the SDK's debug mode (E2B_DEBUG) nothing is created, and `getHost` is this machine: so the first
// request that is neither starts the sandbox `debug_sandbox_id`, whose variables are those of this process.

import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { start as startCommand } from "./envd.ts";
import { forward } from "./proxy.ts";
import { Sandbox } from "./sandbox.ts";

type Create = {
  templateID?: string;
  envVars?: Record<string, string>;
  network?: { allowPublicTraffic?: boolean };
};

const ENVD = 49983;
const DEBUG = "debug_sandbox_id";

const [promptd, folder] = process.argv.slice(2);
if (!promptd || !folder) throw new Error("usage: platform.ts PATH_TO_PROMPTD FOLDER");
const sandboxes = new Map<string, Promise<Sandbox>>();

async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = new URL(request.url ?? "/", "http://platform").pathname;
  const id = request.headers["e2b-sandbox-id"];
  const port = Number(request.headers["e2b-sandbox-port"]);
  if (id === undefined && !/^(\/v2)?\/sandboxes/.test(path)) return traffic(DEBUG, 8080, request, response);
  if (id === undefined) return api(path, request, response);
  if (port !== ENVD) return traffic(String(id), port, request, response);

  const sandbox = await find(String(id));
  if (!sandbox) return answer(response, 502, { sandboxId: id, message: "The sandbox was not found", code: 502 });
  if (path === "/health") return answer(response, 204);
  if (sandbox.id !== DEBUG && request.headers["x-access-token"] !== sandbox.accessToken) {
    return answer(response, 401, { code: "unauthenticated", message: "the access token is wrong" });
  }
  if (path === "/process.Process/Start") return startCommand(sandbox, request, response);
  answer(response, 404, { code: "unimplemented", message: `${path} is not needed by the examples` });
}

/** https://api.e2b.app */
async function api(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const call = `${request.method} ${path.replace(/^(\/v2)?\/sandboxes\/?[^/]*/, "")}`;
  const id = path.match(/\/sandboxes\/([^/]+)/)?.[1];
  if (!request.headers["x-api-key"]) return answer(response, 401, { code: 401, message: "an API key is missing" });
  const body = JSON.parse((await text(request)) || "{}") as Create;

  if (!id && request.method === "POST") {
    const name = randomBytes(10).toString("hex");
    sandboxes.set(name, Sandbox.start(name, promptd!, folder!, body.envVars ?? {}));
    say("create", name, body.templateID);
    const created = (await find(name))!;
    if (body.network?.allowPublicTraffic === false) created.trafficAccessToken = randomBytes(16).toString("hex");
    return answer(response, 201, about(created));
  }
  const sandbox = id ? await find(id) : undefined;
  if (!sandbox) return answer(response, 404, { code: 404, message: `sandbox "${id}" was not found` });
  switch (call) {
    case "POST /connect": {
      const paused = sandbox.paused;
      if (paused) sandbox.resume();
      say("connect", sandbox.id, paused ? "resumed" : "running");
      return answer(response, paused ? 201 : 200, about(sandbox));
    }
    case "POST /pause":
      if (sandbox.paused) return answer(response, 409, { code: 409, message: "it is paused already" });
      sandbox.pause();
      say("pause", sandbox.id);
      return answer(response, 204);
    case "DELETE ":
      sandboxes.delete(sandbox.id);
      sandbox.kill();
      say("kill", sandbox.id);
      return answer(response, 204);
    default:
      return answer(response, 404, { code: 404, message: `${call} is not needed by the examples` });
  }
}

/** https://PORT-ID.e2b.app. In debug mode nobody calls `connect`, so there traffic wakes a sandbox (`autoResume`). */
async function traffic(id: string, port: number, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const sandbox = await find(id);
  const { trafficAccessToken } = sandbox ?? {};
  if (trafficAccessToken && request.headers["e2b-traffic-access-token"] !== trafficAccessToken) {
    const message = "the traffic access token is missing or wrong";
    return answer(response, 403, { sandboxId: id, message, port, code: 403 });
  }
  if (sandbox?.paused && id === DEBUG) {
    sandbox.resume();
    say("wake", id);
  }
  if (!sandbox || sandbox.paused) {
    return answer(response, 502, { sandboxId: id, message: "The sandbox was not found", code: 502 });
  }
  // The first request after a resume may be reset.
  if (sandbox.justResumed) {
    sandbox.justResumed = false;
    request.socket.destroy();
    return;
  }
  // A port is not open at once.
  if (port !== 8080 || sandbox.justCreated) {
    sandbox.justCreated = false;
    const message = "The sandbox is running but port is not open";
    return answer(response, 502, { sandboxId: id, message, port, code: 502 });
  }
  forward(sandbox, request, response);
}

async function find(id: string): Promise<Sandbox | undefined> {
  if (id === DEBUG && !sandboxes.has(id)) {
    sandboxes.set(id, Sandbox.start(id, promptd!, folder!, process.env as Record<string, string>));
  }
  return sandboxes.get(id);
}

function about(sandbox: Sandbox): object {
  return {
    templateID: "promptd-general",
    sandboxID: sandbox.id,
    clientID: "fake",
    envdVersion: "0.6.13",
    envdAccessToken: sandbox.accessToken,
    trafficAccessToken: sandbox.trafficAccessToken,
  };
}

function answer(response: ServerResponse, status: number, body?: object): void {
  response.writeHead(status, body && { "content-type": "application/json" });
  response.end(body && JSON.stringify(body));
}

async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function say(...words: (string | undefined)[]): void {
  console.log(words.filter(Boolean).join(" "));
}

async function end(): Promise<never> {
  for (const sandbox of await Promise.allSettled(sandboxes.values())) {
    if (sandbox.status === "fulfilled") sandbox.value.kill();
  }
  process.exit(0);
}
process.on("SIGTERM", end).on("SIGINT", end);

const server = createServer((request, response) => {
  route(request, response).catch((error) => {
    console.error(error);
    if (response.headersSent) response.destroy();
    else answer(response, 500, { code: 500, message: String(error) });
  });
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  say("ready", `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
