// What the `http` sink sends: stored exactly once, in order, each clone of a sandbox for itself.

import type pg from "pg";
import { pool, transaction } from "./database.ts";
import { ClientError } from "./errors.ts";

export interface Batch {
  session: string;
  epoch: string;
  first_seq: number;
  last_seq: number;
  /** With `view: "updates"`: none, or several of one seq. All lines of a record are in one batch. */
  records: { seq: number; index?: number; type?: string; update?: object }[];
}

/** A place in a branch: behind this line of this record. */
export interface Cursor {
  seq: number;
  index: number;
}

interface Branch {
  branch: number;
  epochs: string[];
  forked_at: number | null;
  head: number;
  contiguous: number;
  translated: boolean;
  /** The first seq at which it holds another record than the batch; null where they agree. */
  differs: number | null;
}

/** Answers only when the batch is committed. */
export async function store(batch: Batch): Promise<void> {
  check(batch);
  const { session, epoch } = batch;
  const lines: Lines = {
    seqs: batch.records.map((record) => record.seq),
    indexes: indexes(batch.records),
    texts: batch.records.map((record) => JSON.stringify(record)),
  };
  await transaction(async (db) => {
    // One batch of a session at a time, so that its records also become visible in order.
    await db.query("select pg_advisory_xact_lock(hashtextextended($1, 0))", [session]);
    const { branch, head, contiguous, ...known } = await place(db, batch, lines);
    const flag = (seq: number, what: string) =>
      db.query("insert into flags values ($1, $2, $3, $4) on conflict do nothing", [session, branch, seq, what]);

    await db.query(
      `insert into records (session, branch, seq, index, record)
       select $1, $2, seq, index, record::json
       from unnest($3::bigint[], $4::integer[], $5::text[]) as given (seq, index, record)
       on conflict do nothing`,
      [session, branch, lines.seqs, lines.indexes, lines.texts],
    );
    const translated = known.translated || batch.records.some((record) => record.update !== undefined);
    let [highest, unbroken] = [head, contiguous];
    // The batch is everything from first_seq to last_seq. In the journal's own lines, each seq of that is there.
    const covered = translated ? [batch.first_seq] : [...new Set(lines.seqs)];
    for (const seq of covered) {
      if (seq > highest + 1) await flag(seq, "hole");
      if (seq === unbroken + 1) unbroken = seq;
      highest = Math.max(highest, seq);
    }
    if (translated && batch.first_seq <= unbroken + 1) unbroken = Math.max(unbroken, batch.last_seq);
    if (translated) highest = Math.max(highest, batch.last_seq);
    for (const { seq, type } of batch.records) if (type === "gap") await flag(seq, "gap");
    await db.query(
      `update branches set head = $3, contiguous = $4, translated = $6,
         epochs = case when $5 = any(epochs) then epochs else epochs || $5::text end
       where session = $1 and branch = $2`,
      [session, branch, highest, unbroken, epoch, translated],
    );
    // Is sent with the commit, never before.
    await db.query("select pg_notify('records', $1)", [session]);
  });
}

/** The lines of a batch, column by column. */
interface Lines {
  seqs: number[];
  indexes: number[];
  texts: string[];
}

/** The place of each line among those of its seq: also of a record itself, which comes behind its updates. */
function indexes(records: Batch["records"]): number[] {
  let [last, index] = [0, 0];
  return records.map((record) => {
    index = record?.seq === last ? index + 1 : 0;
    last = record?.seq;
    return index;
  });
}

/** The branch that a batch belongs to, made where there is none. */
async function place(db: pg.PoolClient, batch: Batch, lines: Lines): Promise<Branch> {
  const { session, epoch, first_seq: first } = batch;
  const { rows } = await db.query<Branch>(
    `select branch, epochs, forked_at, head, contiguous, translated, case when head >= $2 then (
       select min(seq) from records r
         join unnest($3::bigint[], $4::integer[], $5::text[]) as given (seq, index, record) using (seq, index)
       where r.session = b.session and r.branch = b.branch and r.record::text <> given.record) end as differs
     from branches b where session = $1 order by branch desc`,
    [session, first, lines.seqs, lines.indexes, lines.texts],
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
    translated: parent?.translated ?? false,
    differs: null,
  };
  const key = [session, made.branch];
  await db.query(
    `insert into branches (session, branch, epochs, forked_at, head, contiguous, translated)
     values ($1, $2, $3, $4, $5, $6, $7)`,
    [...key, made.epochs, made.forked_at, made.head, made.contiguous, made.translated],
  );
  if (parent) {
    await db.query(
      `insert into records (session, branch, seq, index, record)
       select session, $2, seq, index, record from records where session = $1 and branch = $3 and seq < $4`,
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
  const places = indexes(records);
  const rising = records.every((record, at) => {
    const before = records[at - 1];
    if (!Number.isSafeInteger(record?.seq) || record.seq < (before?.seq ?? 1)) return false;
    // Only updates share the seq of their record, and only the record itself comes behind them without an index.
    const isFirst = record.seq !== before?.seq;
    const isItself = record.update === undefined && before?.update !== undefined;
    return record.index === undefined ? isFirst || isItself : record.index === places[at];
  });
  const [lowest, highest] = [records[0]?.seq ?? first, records.at(-1)?.seq ?? first];
  if (!rising || !(first >= 1 && first <= lowest && last >= highest)) {
    throw new ClientError(400, `seq and index of the records have to go up, from first_seq ${first} to last_seq ${last}`);
  }
}

/** A page of a branch behind a cursor, as the lines they were. It never ends between two lines of a record. */
export async function page(session: string, branch: number, after: Cursor): Promise<(Cursor & { text: string })[]> {
  const { rows } = await pool.query<Cursor & { text: string }>(
    `select seq, index, record::text as text from records
     where session = $1 and branch = $2 and (seq, index) > ($3, $4) and seq <= (
       select max(seq) from (
         select seq from records where session = $1 and branch = $2 and (seq, index) > ($3, $4)
         order by seq, index limit 200) as page)
     order by seq, index`,
    [session, branch, after.seq, after.index],
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
