// The routes that callers of `POST /execute` with `storage` have: text that is appended, and states.

import { pool } from "./database.ts";
import { ClientError } from "./errors.ts";

type Fields = Record<string, unknown>;

/** Stores a chunk once, however often it comes. */
export async function append(body: Fields, epoch: string): Promise<void> {
  const { firstSeq, lastSeq } = body;
  if (!Number.isSafeInteger(firstSeq) || !Number.isSafeInteger(lastSeq)) {
    throw new ClientError(400, "firstSeq and lastSeq are what a chunk is deduplicated by");
  }
  await pool.query("insert into log_chunks values ($1, $2, $3, $4, $5) on conflict do nothing", [
    ...[text(body, "key"), epoch, firstSeq, lastSeq],
    Buffer.from(text(body, "chunk"), "utf8"),
  ]);
}

/** The last value counts: promptd sends in order, one at a time, so a repetition changes nothing. */
export async function set(body: Fields): Promise<void> {
  await pool.query("insert into log_values values ($1, $2) on conflict (key) do update set value = excluded.value", [
    ...[text(body, "key"), text(body, "value")],
  ]);
}

export async function status(body: Fields): Promise<void> {
  await pool.query(
    `insert into session_statuses values ($1, $2, $3, $4)
     on conflict (agent_id, session_id) do update set status = excluded.status, error = excluded.error`,
    [text(body, "agentId"), text(body, "sessionId"), text(body, "status"), body.error ?? null],
  );
}

function text(body: Fields, name: string): string {
  const value = body[name];
  if (typeof value !== "string") throw new ClientError(400, `${name} has to be a string`);
  return value;
}
