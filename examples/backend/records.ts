// What the `http` sink sends: stored exactly once, in order, each clone of a sandbox for itself.

import type pg from "pg";
import { pool, transaction } from "./database.ts";
import { ClientError } from "./errors.ts";

export interface Batch {
  session: string;
  epoch: string;
  first_seq: number;
  last_seq: number;
  records: { seq: number; type: string }[];
}

interface Branch {
  branch: number;
  epochs: string[];
  forked_at: number | null;
  head: number;
  contiguous: number;
  /** The first seq at which it holds another record than the batch; null where they agree. */
  differs: number | null;
}

/** Answers only when the batch is committed. */
export async function store(batch: Batch): Promise<void> {
  check(batch);
  const { session, epoch } = batch;
  const seqs = batch.records.map((record) => record.seq);
  const texts = batch.records.map((record) => JSON.stringify(record));
  await transaction(async (db) => {
    // One batch of a session at a time, so that its records also become visible in order.
    await db.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [session]);
    const { branch, head, contiguous } = await place(db, batch, seqs, texts);
    const flag = (seq: number, what: string) =>
      db.query("insert into flags values ($1, $2, $3, $4) on conflict do nothing", [session, branch, seq, what]);

    await db.query(
      `insert into records select $1, $2, seq, record::json from unnest($3::bigint[], $4::text[]) as given (seq, record)
       on conflict do nothing`,
      [session, branch, seqs, texts],
    );
    let [highest, unbroken] = [head, contiguous];
    for (const { seq, type } of batch.records) {
      if (seq > highest + 1) await flag(seq, "hole");
      if (seq === unbroken + 1) unbroken = seq;
      if (type === "gap") await flag(seq, "gap");
      highest = Math.max(highest, seq);
    }
    await db.query(
      `update branches set head = $3, contiguous = $4,
         epochs = case when $5 = any(epochs) then epochs else epochs || $5::text end
       where session = $1 and branch = $2`,
      [session, branch, highest, unbroken, epoch],
    );
    // Is sent with the commit, never before.
    await db.query("select pg_notify('records', $1)", [session]);
  });
}

/** The branch that a batch belongs to, made where there is none. */
async function place(db: pg.PoolClient, batch: Batch, seqs: number[], texts: string[]): Promise<Branch> {
  const { session, epoch, first_seq: first } = batch;
  const { rows } = await db.query<Branch>(
    `select branch, epochs, forked_at, head, contiguous, case when head >= $2 then (
       select min(seq) from records r join unnest($3::bigint[], $4::text[]) as given (seq, record) using (seq)
       where r.session = b.session and r.branch = b.branch and r.record::text <> given.record) end as differs
     from branches b where session = $1 order by branch desc`,
    [session, first, seqs, texts],
  );
  const parent = choose(rows, batch);
  if (parent && parent.differs === null) return parent;

  const fork = parent?.differs ?? first;
  const made: Branch = {
    branch: (rows[0]?.branch ?? 0) + 1,
    epochs: [epoch],
    forked_at: rows.length > 0 ? fork : null,
    head: parent ? fork - 1 : 0,
    contiguous: parent ? Math.min(parent.contiguous, fork - 1) : 0,
    differs: null,
  };
  const key = [session, made.branch];
  await db.query("insert into branches values ($1, $2, $3, $4, $5, $6)", [
    ...key,
    ...[made.epochs, made.forked_at, made.head, made.contiguous],
  ]);
  if (parent) {
    await db.query(
      "insert into records select session, $2, seq, record from records where session = $1 and branch = $3 and seq < $4",
      [...key, parent.branch, fork],
    );
  }
  if (rows.length > 0) {
    await db.query("insert into flags values ($1, $2, $3, $4)", [...key, fork, parent ? "fork" : "orphan"]);
  }
  return made;
}

/**
 * The branch that a batch continues, repeats, or (where `differs` says so) parts from.
 *
 * An epoch that is known goes on in its branch. A new epoch is a resume or a clone, and the wire does not say of which:
 * it is taken for the continuation of a branch only where no other could be meant.
 */
function choose(branches: Branch[], { epoch, first_seq: first }: Batch): Branch | undefined {
  const own = branches.filter((branch) => branch.epochs.includes(epoch));
  const candidates = own.length > 0 ? own : branches;
  const fitting = candidates.filter((branch) => branch.differs === null && branch.head >= first - 1);
  if (fitting.length === 1 || own.length > 0) return fitting[0] ?? candidates[0];
  // Below the first fork all branches are the same, so that any may be the parent: the one that agrees longest.
  const alike = branches.every((branch) => branch.forked_at === null || branch.forked_at >= first);
  if (branches.length > 1 && !alike) return undefined;
  return candidates.toSorted((a, b) => (b.differs ?? Infinity) - (a.differs ?? Infinity))[0];
}

function check(batch: Batch): void {
  const { session, epoch, first_seq: first, last_seq: last, records } = batch ?? {};
  if (typeof session !== "string" || typeof epoch !== "string" || !Array.isArray(records)) {
    throw new ClientError(400, "a batch has session, epoch, first_seq, last_seq and records");
  }
  const seqs = records.map((record) => record?.seq);
  const rising = seqs.every((seq, at) => Number.isSafeInteger(seq) && seq > (seqs[at - 1] ?? 0));
  if (!rising || !(first >= 1 && first <= seqs[0]! && last >= seqs.at(-1)!)) {
    throw new ClientError(400, `the seq of the records have to go up, from first_seq ${first} to last_seq ${last}`);
  }
}

/** A page of a branch behind a cursor, as the lines they were. */
export async function page(session: string, branch: number, after: number): Promise<{ seq: number; text: string }[]> {
  const { rows } = await pool.query<{ seq: number; text: string }>(
    `select seq, record::text as text from records where session = $1 and branch = $2 and seq > $3
     order by seq limit 200`,
    [session, branch, after],
  );
  return rows;
}

/** The branches of a session and what is to be known of them. */
export async function session(id: string): Promise<object> {
  const branches = await pool.query(
    "select branch, epochs, forked_at, head, contiguous from branches where session = $1 order by branch",
    [id],
  );
  if (branches.rows.length === 0) throw new ClientError(404, `nothing has come from a session ${id}`);
  const flags = await pool.query("select branch, seq, what from flags where session = $1 order by branch, seq", [id]);
  return { session: id, branches: branches.rows, flags: flags.rows };
}
