-- Applied at every start.

-- A sequence of records. A session has one; a session of a cloned sandbox has one more for each clone, which begins
-- with a copy of the records that both share, so that each branch can be read on its own.
create table if not exists branches (
  session text not null,
  branch integer not null,
  epochs text[] not null, -- the lives of the machine that wrote it
  forked_at bigint, -- the first seq that is its own; null in the first branch
  head bigint not null, -- the highest seq stored
  contiguous bigint not null, -- the highest seq up to which nothing is missing
  translated boolean not null default false, -- the sink has `view: "updates"`, where a record can give no line
  primary key (session, branch)
);
alter table branches add column if not exists translated boolean not null default false;

-- This key is what makes "at least once" into "exactly once". json, not jsonb: it keeps "\u0000", and the order of keys.
-- With `view: "updates"`, a record can give several lines: they have its seq, and index is their place among them.
create table if not exists records (
  session text not null,
  branch integer not null,
  seq bigint not null,
  index integer not null default 0,
  record json not null,
  primary key (session, branch, seq, index)
);
do $$
begin
  if not exists (select from information_schema.columns where table_name = 'records' and column_name = 'index') then
    alter table records add column index integer not null default 0;
    alter table records drop constraint records_pkey, add primary key (session, branch, seq, index);
  end if;
end $$;

-- What somebody should know about a branch: 'hole' (records before seq never came), 'gap' (promptd says that something
-- was lost), 'fork' (from seq on it is another clone's), 'orphan' (a clone of which nobody can tell where it parted).
create table if not exists flags (
  session text not null,
  branch integer not null,
  seq bigint not null,
  what text not null,
  primary key (session, branch, seq, what)
);

-- What `POST /execute` with storage leaves. Bytes, since PostgreSQL's text has no NUL and an agent's output may.
-- A retry keeps the epoch in which it was cut first, so the key holds across a resume, and keeps clones apart.
create table if not exists log_chunks (
  key text not null,
  epoch text not null,
  first_seq bigint not null,
  last_seq bigint not null,
  chunk bytea not null,
  primary key (key, epoch, first_seq)
);

-- The exact text is the concatenation. Of a cloned sandbox's key: of the epochs of one clone.
create or replace view log_texts as
  select key, array_agg(distinct epoch) as epochs, string_agg(chunk, ''::bytea order by first_seq) as bytes
  from log_chunks group by key;

create table if not exists log_values (
  key text primary key,
  value text not null
);

create table if not exists session_statuses (
  agent_id text not null,
  session_id text not null,
  status text not null,
  error text,
  primary key (agent_id, session_id)
);

create table if not exists webhooks (
  id text primary key,
  event json not null,
  received_at timestamptz not null default now()
);
