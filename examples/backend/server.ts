// HTTP and WebSocket in front of it all: who may, how much, and what an answer means to promptd.

import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { Webhook, WebhookVerificationError } from "standardwebhooks";
import { WebSocketServer } from "ws";
import { applySchema, pool } from "./database.ts";
import { ClientError } from "./errors.ts";
import { feed, listen } from "./live.ts";
import { type Cursor, page, session, store } from "./records.ts";
import * as studio from "./studio.ts";

/** What a sandbox may do with its token is bring records. Agents run there: it must not open what others brought. */
const SANDBOX_TOKEN = required("SANDBOX_TOKEN");
const READER_TOKEN = required("READER_TOKEN");
const WEBHOOK_SECRET = process.env.WEBHOOK_SECRET;
/** Above promptd's `limits.body_bytes`, since the record of a prompt cannot be halved. */
const BODY_LIMIT = Number(process.env.BODY_LIMIT ?? 128 << 20);
/** Beyond this many requests at once, promptd is asked to come back: the records wait in its journal, not in memory here. */
const BUSY = 64;

type Handler = (request: IncomingMessage, url: URL) => Promise<object | void>;

const routes: Record<string, Handler> = {
  "POST /promptd/records": bringing(store),
  "POST /promptd/webhook": webhook,
  "POST /api/internal/logs/append": bringing((body: never, request) =>
    studio.append(body, String(request.headers["promptd-epoch"] ?? "")),
  ),
  "POST /api/internal/logs": bringing(studio.set),
  "POST /api/internal/sessions/status": bringing(studio.status),
  "GET /healthz": async () => ({ status: "ok" }),
};

/** A route for sandboxes that takes JSON. */
function bringing<T>(handle: (body: T, request: IncomingMessage) => Promise<void>): Handler {
  return async (request) => {
    authorize(request, SANDBOX_TOKEN);
    await handle(json(await bytes(request)) as T, request);
  };
}

async function webhook(request: IncomingMessage): Promise<void> {
  if (!WEBHOOK_SECRET) throw new ClientError(404, "WEBHOOK_SECRET is not set");
  const body = (await bytes(request)).toString("utf8");
  try {
    // Also refuses what is older than five minutes.
    new Webhook(WEBHOOK_SECRET).verify(body, request.headers as Record<string, string>);
  } catch (error) {
    if (error instanceof WebhookVerificationError) throw new ClientError(401, error.message);
    throw error;
  }
  await pool.query("insert into webhooks values ($1, $2) on conflict do nothing", [request.headers["webhook-id"], body]);
}

async function read(request: IncomingMessage, url: URL): Promise<object> {
  const { id, what } = target(url);
  authorize(request, READER_TOKEN);
  if (what === undefined) return session(id);
  if (what !== "records") throw new ClientError(404, "try /sessions/{id} and /sessions/{id}/records");
  const { branch, after } = cursor(url);
  const records = await page(id, branch, after);
  return { records: records.map(({ text }) => JSON.parse(text)), next: records.at(-1)?.seq ?? after.seq };
}

function target(url: URL): { id: string; what?: string } {
  const [, id, what] = /^\/sessions\/([\w.:-]{1,128})(?:\/(records|live))?$/.exec(url.pathname) ?? [];
  if (!id) throw new ClientError(404, `there is no ${url.pathname}`);
  return what ? { id, what } : { id };
}

/** PostgreSQL's highest integer: no record has so many lines. */
const WHOLE_RECORD = 2_147_483_647;

/** `after=17` is behind all lines of record 17, `after=17:0` behind the first of them. */
function cursor(url: URL): { branch: number; after: Cursor } {
  const branch = Number(url.searchParams.get("branch") ?? 1);
  const [, seq, index = WHOLE_RECORD] = /^(\d{1,15})(?::(\d{1,9}))?$/.exec(url.searchParams.get("after") ?? "0") ?? [];
  if (!Number.isSafeInteger(branch) || !seq) throw new ClientError(400, "branch is a number, after is SEQ or SEQ:INDEX");
  return { branch, after: { seq: Number(seq), index: Number(index) } };
}

/** Compares digests: they are of one length, and how much of one agrees tells nothing of the token. */
function authorize(request: IncomingMessage, token: string): void {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  if (!timingSafeEqual(digest(request.headers.authorization ?? ""), digest(`Bearer ${token}`))) {
    throw new ClientError(401, "the bearer token is missing or wrong", { "www-authenticate": "Bearer" });
  }
}

async function bytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    // What is too much is read to its end all the same, but not kept: who is still sending does not see an answer.
    if (size <= BODY_LIMIT) chunks.push(chunk);
  }
  const tooLarge = new ClientError(413, `a body is at most ${BODY_LIMIT} bytes`);
  if (size > BODY_LIMIT) throw tooLarge;
  const body = Buffer.concat(chunks);
  if (request.headers["content-encoding"] !== "gzip") return body;
  return promisify(gunzip)(body, { maxOutputLength: BODY_LIMIT }).catch((error) => {
    throw error.code === "ERR_BUFFER_TOO_LARGE" ? tooLarge : new ClientError(400, `no gzip: ${error.message}`);
  });
}

function json(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new ClientError(400, `no JSON: ${error}`);
  }
}

/**
 * What went wrong, in the words that promptd acts on: a 4xx pauses the sink until somebody looks, anything else is tried
 * again until it works. So only what can never work is a 4xx, and a database that is down is not.
 */
function refusal(error: unknown): ClientError {
  if (error instanceof ClientError) return error;
  console.error("not stored:", error);
  const unfit = /^22/.test((error as { code?: string }).code ?? "");
  return unfit
    ? new ClientError(400, "PostgreSQL cannot hold this")
    : new ClientError(503, "not stored; send it again", { "retry-after": "1" });
}

let busy = 0;
const server = createServer(async (request, response) => {
  busy += 1;
  try {
    const url = new URL(request.url ?? "/", "http://backend");
    const handle = routes[`${request.method} ${url.pathname}`] ?? (request.method === "GET" ? read : undefined);
    if (!handle) throw new ClientError(404, `there is no ${request.method} ${url.pathname}`);
    if (busy > BUSY) throw new ClientError(429, "too many requests at once", { "retry-after": "1" });
    const answer = await handle(request, url);
    response.writeHead(answer ? 200 : 204, answer ? { "content-type": "application/json" } : {});
    response.end(answer && JSON.stringify(answer));
  } catch (error) {
    const { status, message, headers } = refusal(error);
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify({ error: message }));
  } finally {
    busy -= 1;
  }
});

const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024 });
server.on("upgrade", (request, connection, head) => {
  connection.on("error", () => connection.destroy());
  try {
    const url = new URL(request.url ?? "/", "http://backend");
    const { id, what } = target(url);
    if (what !== "live") throw new ClientError(404, "try /sessions/{id}/live");
    authorize(request, READER_TOKEN);
    const { branch, after } = cursor(url);
    sockets.handleUpgrade(request, connection, head, (socket) => void feed(socket, id, branch, after));
  } catch (error) {
    const { status, message } = refusal(error);
    connection.end(`HTTP/1.1 ${status} ${message}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
  }
});

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

await applySchema();
void listen();
server.listen(Number(process.env.PORT ?? 4000), process.env.HOST ?? "127.0.0.1", () => console.log("ready"));
