// What Postgres itself saw: triggers note every committed write to `users` and every step of the ledger, with the process
// that made it. They also hold a process at a moment that can only be met from inside: in a statement, or in a commit.
import postgres from 'postgres'

/** Where a process can be held: the names of the triggers that do it. */
export const stops = {
  'users written': 'within',
  'users deleted': 'within',
  'tombstones left': 'within',
  'lease taken': 'within',
  'run closed': 'within',
  'progress saved': 'within',
  'page commits': 'commit',
  'tombstones commit': 'commit',
  'ledger commits': 'commit',
} as const

export type Stop = keyof typeof stops

export interface SeenWrite {
  /** Postgres's clock, ms. */
  readonly at: number
  readonly kind: 'created' | 'put back' | 'updated' | 'refreshed' | 'deleted'
  readonly clerkId: string
  readonly process: number | null
  readonly isWebhook: boolean
  /** The run that held the lease. */
  readonly runId: number | null
}

export interface SeenStep {
  readonly runId: number
  readonly before: string | null
  readonly after: string | null
  readonly process: number | null
}

/** A session of the tool. */
export interface Session {
  readonly pid: number
  readonly application: string
  readonly state: string
  /** Undefined unless it has written something that is not committed yet. */
  readonly xid: string | undefined
  readonly isInTransaction: boolean
  readonly isHeld: boolean
  readonly query: string
}

const setup = `
  create schema recorder;
  create table recorder.writes (id bigint generated always as identity, at timestamptz not null default clock_timestamp(),
    xid xid8 not null default pg_current_xact_id(), kind text, clerk_id text, process int, application text, run_id bigint);
  create index on recorder.writes (clerk_id) where kind = 'deleted';
  create table recorder.steps (id bigint generated always as identity, xid xid8 not null default pg_current_xact_id(),
    run_id bigint, before text, after text, process int);
  create table recorder.stop (name text, nth int);
  create sequence recorder.met;

  create function recorder.process() returns int language sql
    return nullif(current_setting('recorder.process', true), '')::int;

  create function recorder.note_write() returns trigger language plpgsql as $$
  declare
    whom text := case when tg_op = 'DELETE' then old.clerk_id else new.clerk_id end;
    what text := 'deleted';
  begin
    if tg_op = 'INSERT' then
      what := case when exists (select from recorder.writes where clerk_id = whom and kind = 'deleted')
        then 'put back' else 'created' end;
    elsif tg_op = 'UPDATE' then
      what := case when (old.name, old.email, old.image_url) is distinct from (new.name, new.email, new.image_url)
        then 'updated' else 'refreshed' end;
    end if;
    insert into recorder.writes (kind, clerk_id, process, application, run_id) values (what, whom, recorder.process(),
      current_setting('application_name'), (select r.id from clerk_sync.runs r where r.status = 'running'));
    return null;
  end $$;
  create trigger "noted" after insert or update or delete on users for each row execute function recorder.note_write();

  create function recorder.note_step() returns trigger language plpgsql as $$
  begin
    if tg_op = 'DELETE' then insert into recorder.steps (run_id, before, process) values (old.id, old.status, recorder.process());
    elsif tg_op = 'INSERT' then insert into recorder.steps (run_id, after, process) values (new.id, new.status, recorder.process());
    elsif old.status <> new.status then
      insert into recorder.steps (run_id, before, after, process) values (new.id, old.status, new.status, recorder.process());
    end if;
    return null;
  end $$;
  create trigger "noted" after insert or update or delete on clerk_sync.runs
    for each row execute function recorder.note_step();

  -- Sleeps, since a lock would be given up after the tool's lock_timeout; each look has a snapshot of its own.
  create function recorder.hold() returns trigger language plpgsql as $$
  begin
    if recorder.process() is null or not exists (select from recorder.stop where name = tg_name) then return null; end if;
    if nextval('recorder.met') <> (select nth from recorder.stop) then return null; end if;
    while exists (select from recorder.stop) loop perform pg_sleep(0.003); end loop;
    return null;
  end $$;
  create trigger "users written" after insert or update on users execute function recorder.hold();
  create trigger "users deleted" after delete on users execute function recorder.hold();
  create trigger "tombstones left" after insert on clerk_sync.tombstones execute function recorder.hold();
  create trigger "lease taken" after insert on clerk_sync.runs execute function recorder.hold();
  create trigger "run closed" after update of counts on clerk_sync.runs execute function recorder.hold();
  create trigger "progress saved" after update of watermark on clerk_sync.state execute function recorder.hold();
  create constraint trigger "page commits" after insert or update on users
    deferrable initially deferred for each row execute function recorder.hold();
  create constraint trigger "tombstones commit" after insert on clerk_sync.tombstones
    deferrable initially deferred for each row execute function recorder.hold();
  create constraint trigger "ledger commits" after insert or update of counts on clerk_sync.runs
    deferrable initially deferred for each row execute function recorder.hold();
`

export type Recorder = Awaited<ReturnType<typeof openRecorder>>

/** Sets the triggers up in that database. The caller closes it. */
export async function openRecorder(url: string) {
  const sql = postgres(url, { max: 1, prepare: false, onnotice: () => {} })
  await sql.unsafe(setup)
  return {
    sql,
    /** The address for a process, whose sessions then carry its number. */
    urlFor: (process: number) => `${url}?recorder.process=${process}`,
    async arm(name: Stop, nth: number): Promise<void> {
      await sql`select setval('recorder.met', 1, false)`
      await sql`insert into recorder.stop values (${name}, ${nth})`
    },
    async disarm(): Promise<void> {
      await sql`delete from recorder.stop`
    },
    async sessions(): Promise<Session[]> {
      const rows = await sql<(Omit<Session, 'xid'> & { xid: string | null })[]>`
        select pid, application_name as application, coalesce(state, '') as state, backend_xid::text as xid, query,
          -- a statement that is not the first of its transaction may be under way, and have written nothing yet
          coalesce(backend_xid is not null or state like 'idle in transaction%'
            or (state = 'active' and xact_start < query_start), false) as "isInTransaction",
          coalesce(wait_event = 'PgSleep', false) as "isHeld"
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and application_name like 'clerk-sync%'`
      return rows.map((row) => ({ ...row, xid: row.xid ?? undefined }))
    },
    /** The newest run that this process began and committed. */
    async lastRunOf(process: number): Promise<{ id: number; status: string } | undefined> {
      const [run] = await sql<{ id: number; status: string }[]>`
        select r.id::int, r.status from clerk_sync.runs r join recorder.steps s on s.run_id = r.id
        where s.process = ${process} and s.before is null order by r.id desc limit 1`
      return run
    },
    /** What became of a transaction: `committed`, `aborted` or `in progress`. */
    async fateOf(xid: string): Promise<string> {
      const [row] = await sql<{ fate: string }[]>`select pg_xact_status(${xid}::text::xid8) as fate`
      return row?.fate ?? 'forgotten'
    },
    /**
     * What transactions from `from` on have done, in order, and where to go on. Of those that end out of turn nothing is
     * told before all that began earlier have ended, so that none is passed over.
     */
    seenFrom: (from: string) =>
      sql.begin('isolation level repeatable read', async (tx) => {
        const [now] = await tx<
          { xmin: string }[]
        >`select pg_snapshot_xmin(pg_current_snapshot())::text as xmin`
        const next = now?.xmin ?? from
        const isNew = tx`xid >= ${from}::text::xid8 and xid < ${next}::text::xid8`
        const steps = await tx<SeenStep[]>`
          select run_id::int as "runId", before, after, process from recorder.steps where ${isNew} order by id`
        const writes = await tx<SeenWrite[]>`
          select (extract(epoch from at) * 1000)::float8 as at, kind, clerk_id as "clerkId", process,
            application = 'clerk-sync worker' as "isWebhook", run_id::int as "runId"
          from recorder.writes where ${isNew} order by id`
        return { steps, writes, next }
      }),
    /** Users whose row was deleted and who have no tombstone. */
    async unburied(): Promise<string[]> {
      const rows = await sql<{ id: string }[]>`
        select distinct clerk_id as id from recorder.writes where kind = 'deleted'
        except select clerk_id from clerk_sync.tombstones`
      return rows.map((row) => row.id)
    },
    close: () => sql.end({ timeout: 1 }),
  }
}
