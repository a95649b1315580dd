// The connections to PostgreSQL. `DATABASE_URL` or the usual PGHOST, PGDATABASE, … say where it is.

import { readFile } from "node:fs/promises";
import pg from "pg";

// A seq stays far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

export const config: pg.ClientConfig = {
  ...(process.env.DATABASE_URL ? { connectionString: process.env.DATABASE_URL } : {}),
  connectionTimeoutMillis: 5_000,
  keepAlive: true,
};

// promptd waits 30 s for an answer: a statement that takes longer is better given up, and tried again.
export const pool = new pg.Pool({ ...config, max: 8, statement_timeout: 20_000 });
// A connection may be lost while it is idle, or in a transaction between two statements: the next statement tells, and
// without a listener the process would end.
pool.on("error", (error) => console.error(`a connection was lost: ${error.message}`));
pool.on("connect", (db) => db.on("error", () => {}));

export async function applySchema(): Promise<void> {
  await pool.query(await readFile(new URL("schema.sql", import.meta.url), "utf8"));
}

export async function transaction<T>(work: (db: pg.PoolClient) => Promise<T>): Promise<T> {
  const db = await pool.connect();
  try {
    await db.query("begin");
    const result = await work(db);
    await db.query("commit");
    db.release();
    return result;
  } catch (error) {
    // The connection may be half dead, so it is closed, which rolls back.
    db.release(true);
    throw error;
  }
}
