// Records to WebSockets: each socket is a cursor in the table, and LISTEN only says when to look again. So there is no
// seam between what was stored and what is live, and nothing to buffer for a client that is slow.

import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { WebSocket } from "ws";
import { config } from "./database.ts";
import { page, type Cursor } from "./records.ts";

/** More than this waiting in one socket, and it has to empty before it gets more. */
const BUFFER = 1 << 20;
/** A client that has not taken that much by then is cut off. */
const PATIENCE = Number(process.env.SLOW_CLIENT_MS ?? 10_000);
const PING = 15_000;
/** "Try again later": connect again, with `after` = the last seq (and index) that you have. */
const COME_BACK = 1013;

const bells = new Map<string, Set<() => void>>();

export async function feed(socket: WebSocket, session: string, branch: number, after: Cursor): Promise<void> {
  let rung = true;
  let wake = () => {};
  const bell = () => {
    rung = true;
    wake();
  };
  const ringing = bells.get(session) ?? new Set();
  bells.set(session, ringing.add(bell));
  const pings = keepAlive(socket);
  socket.on("close", bell).on("error", bell);
  try {
    while (socket.readyState === socket.OPEN) {
      if (!rung) await new Promise<void>((resolve) => (wake = resolve));
      rung = false;
      for (let records = await page(session, branch, after); records.length > 0; records = await page(session, branch, after)) {
        for (const { seq, index, text } of records) {
          if (!(await sent(socket, text))) return;
          after = { seq, index };
        }
      }
    }
  } catch (error) {
    console.error(`live ${session}: ${error}`);
    socket.close(COME_BACK, "come back with after=<the last seq that you have>");
  } finally {
    clearInterval(pings);
    ringing.delete(bell);
    if (ringing.size === 0) bells.delete(session);
  }
}

/** Sends; false when the client has gone, or was too slow and is cut off. */
async function sent(socket: WebSocket, text: string): Promise<boolean> {
  const written = new Promise<boolean>((resolve) => socket.send(text, (error) => resolve(!error)));
  if (socket.bufferedAmount <= BUFFER) return socket.readyState === socket.OPEN;
  const patience = new AbortController();
  const late = sleep(PATIENCE, "late" as const, { signal: patience.signal }).catch(() => false);
  const outcome = await Promise.race([written, late]);
  patience.abort();
  if (outcome === "late") {
    console.log("a client is too slow");
    // What it is told stands behind what it has not read yet.
    socket.close(COME_BACK, "too slow: come back with after=<the last seq that you have>");
  }
  return outcome === true;
}

/** A client that has gone without a word is noticed by the pong that does not come. */
function keepAlive(socket: WebSocket): NodeJS.Timeout {
  let alive = true;
  socket.on("pong", () => (alive = true));
  return setInterval(() => {
    if (!alive) return socket.terminate();
    alive = false;
    socket.ping();
  }, PING);
}

/** Wakes the feeds of sessions that have new records, for as long as the process lives. */
export async function listen(): Promise<never> {
  for (;;) {
    const client = new pg.Client(config);
    client.on("error", (error) => console.error(`LISTEN was lost: ${error.message}`));
    client.on("notification", ({ payload }) => bells.get(payload ?? "")?.forEach((ring) => ring()));
    const ended = once(client, "end").catch(() => {});
    try {
      await client.connect();
      await client.query("listen records");
      // What was committed while nobody listened.
      for (const ringing of bells.values()) for (const ring of ringing) ring();
      await ended;
    } catch (error) {
      console.error(`LISTEN cannot begin: ${error}`);
      await client.end().catch(() => {});
    }
    await sleep(500);
  }
}
