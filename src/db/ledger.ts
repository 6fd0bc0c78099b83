// Runs and the lease, in one table: the running row of `clerk_sync.runs` is the right to run. It is kept by heartbeats
// on Postgres's clock, and every transaction that writes looks at it first, so that a holder that slept stops.
import { sql } from 'drizzle-orm'
import { SyncError } from '../errors.ts'
import type { TableCatalog } from './catalog.ts'
import { bringBackTimes, soon } from './clock.ts'
import { arrayParameter, type Database, type Executor, query, transaction } from './database.ts'

/** A holder silent for so long has died or sleeps; six heartbeats. */
const silentAfter = sql.raw(`interval '30 seconds'`)

export interface Lease {
  readonly runId: number
  /** Postgres's clock, ms: what tombstones are young or old against. */
  readonly startedAt: number
  /** Runs whose holder had fallen silent, now marked `abandoned`. */
  readonly abandoned: number[]
}

export interface Holder {
  readonly runId: number
  readonly host: string
  readonly pass: string
  /** Null where it began at a time that Postgres's clock has not reached. */
  readonly runningForSeconds: number | null
}

export interface NewRun {
  pass: string
  trigger: string
  /** Null where the run ended before Clerk named it. */
  instanceId: string | null
  host: string
  approveDeletes: number | null
}

/** A turn of a schedule, of which one worker takes care. */
export interface Tick {
  /** The passes that do what this tick asks for. */
  readonly passes: readonly string[]
  /** A run that began so long ago, or later, is this tick's. */
  readonly seconds: number
}

/** What a finished run leaves in the ledger. */
export interface RunRecord {
  pass: string
  status: string
  counts: object
  requests: object
  notes: readonly string[]
  rejected: readonly { clerkId: string; reason: string }[]
  withheld: readonly { clerkId: string; missedSince: string | null }[]
  error: object | null
}

/** A run for a single user writes its line beside the lease: it neither takes the lease nor holds it up. */
const needsLease = sql`pass <> 'user'`

/** Someone who was quicker is seen at the next look; more tries than that are no race. */
const tries = 5

/**
 * Takes the lease, or says who holds it: nobody if a run has taken care of the tick meanwhile. A silent holder is marked
 * `abandoned` first. A run of pass `user` gets its line whoever holds the lease, and leaves a silent holder alone. It
 * looks before it writes: a run that comes too late uses up no number.
 */
export async function acquireLease(
  database: Database,
  run: NewRun,
  tick?: Tick,
): Promise<Lease | { holder: Holder | undefined }> {
  for (let tryNumber = 1; ; tryNumber++) {
    const taken = await transaction(database, (tx) => tryToAcquire(tx, run, tick, tryNumber > 1))
    if (taken !== undefined) return taken
    // It may just have ended; to the caller that is the same "not now".
    if (tryNumber === tries) return { holder: undefined }
  }
}

/** Undefined if another line came first, be it the lease or just the number. */
async function tryToAcquire(
  tx: Executor,
  run: NewRun,
  tick: Tick | undefined,
  isRepeat: boolean,
): Promise<Lease | { holder: Holder | undefined } | undefined> {
  await bringBackTimes(tx)
  const silent = run.pass === 'user' ? sql`pass = 'user'` : sql`true`
  const abandoned = await query<{ id: number }>(
    tx,
    sql`update clerk_sync.runs set status = 'abandoned', finished_at = now()
        -- a silent holder has died
        where status = 'running' and heartbeat_at < now() - ${silentAfter} and ${silent}
        returning id::float8 as id`,
  )
  const [holder] = run.pass === 'user' ? [] : await readHolder(tx)
  if (holder !== undefined) return { holder }
  if (tick !== undefined && (await hasRun(tx, tick))) return { holder: undefined } // one worker a tick
  const taken = await insertRun(tx, run, { status: 'running', hasFreeNumber: isRepeat, tick })
  return taken && { ...taken, abandoned: abandoned.map((row) => row.id) }
}

const readHolder = (tx: Executor) =>
  query<Holder>(
    tx,
    sql`select id::float8 as "runId", host, pass,
          case when started_at <= ${soon}
            then round(greatest(extract(epoch from now() - started_at), 0))::float8 end as "runningForSeconds"
        from clerk_sync.runs
        -- only runs that need it
        where status = 'running' and ${needsLease}`,
  )

/**
 * Writes a line. Undefined if the lease is held or the number is taken: after a failover or a restore that left the
 * sequence behind, it gives numbers that there are. The number after the newest is free then, and needs no right to the
 * sequence.
 */
async function insertRun(
  tx: Executor,
  run: NewRun,
  line: { status: string; hasFreeNumber: boolean; tick?: Tick | undefined },
): Promise<{ runId: number; startedAt: number } | undefined> {
  const [number, value] = line.hasFreeNumber
    ? [sql`id, `, sql`(select coalesce(max(id), 0) + 1 from clerk_sync.runs), `]
    : [sql``, sql``]
  const [row] = await query<{ id: number; started_at: number }>(
    tx,
    sql`insert into clerk_sync.runs (${number}pass, trigger, status, instance_id, host, approve_deletes, started_at,
          heartbeat_at)
        overriding system value
        select ${value}${run.pass}, ${run.trigger}, ${line.status}, ${run.instanceId}, ${run.host}, ${run.approveDeletes}::integer,
          clock.at, clock.at
        -- not now(): the run before may have ended since this transaction began
        from (select clock_timestamp() as at) clock
        -- a short run may have begun and ended since the look
        where not ${line.tick === undefined ? sql`false` : isTaken(line.tick)}
        on conflict do nothing
        returning id::float8 as id, (extract(epoch from started_at) * 1000)::float8 as started_at`,
  )
  return row && { runId: row.id, startedAt: row.started_at }
}

/**
 * Writes the line of a run that ended before it had one: it began so long ago. Returns its number, undefined if five
 * tries found none that is free.
 */
export async function noteEndedRun(
  database: Database,
  run: NewRun,
  record: RunRecord,
  durationMs: number,
  milliseconds: number,
): Promise<number | undefined> {
  for (let tryNumber = 1; tryNumber <= tries; tryNumber++) {
    const runId = await transaction(
      database,
      async (tx) => {
        const line = await insertRun(tx, run, { status: record.status, hasFreeNumber: tryNumber > 1 })
        if (line === undefined) return undefined
        await endRun(tx, line.runId, record.status, record)
        await query(
          tx,
          sql`update clerk_sync.runs set started_at = now() - ${durationMs}::float8 * interval '1 millisecond'
              where id = ${line.runId}`,
        )
        await forgetOldRuns(tx)
        return line.runId
      },
      milliseconds,
    )
    if (runId !== undefined) return runId
  }
  return undefined
}

/** Tells the others that this run lives. False once the run is no longer the lease. */
export async function heartbeat(executor: Executor, runId: number): Promise<boolean> {
  const rows = await query(
    executor,
    sql`update clerk_sync.runs set heartbeat_at = now()
        -- a lost lease stays lost
        where id = ${runId} and status = 'running' returning id`,
  )
  return rows.length > 0
}

/** Writes the end of a run. False if the lease had been lost: then the ledger's `abandoned` stands. */
export function finishRun(executor: Executor, runId: number, record: RunRecord): Promise<boolean> {
  return endRun(executor, runId, 'running', record)
}

async function endRun(
  executor: Executor,
  runId: number,
  statusBefore: string,
  record: RunRecord,
): Promise<boolean> {
  // Tables that still lack the column have to take the line of a run that failed early.
  const withheld =
    record.withheld.length === 0
      ? sql``
      : sql`withheld = ${JSON.stringify(record.withheld.slice(0, 100))}::jsonb,`
  const rows = await query(
    executor,
    sql`update clerk_sync.runs set pass = ${record.pass}, status = ${record.status}, finished_at = now(),
          counts = ${JSON.stringify(record.counts)}::jsonb, requests = ${JSON.stringify(record.requests)}::jsonb,
          notes = ${JSON.stringify(record.notes)}::jsonb,
          rejected = ${JSON.stringify(record.rejected.slice(0, 100))}::jsonb, ${withheld}
          error = ${record.error === null ? null : JSON.stringify(record.error)}::jsonb
        -- the first end stands
        where id = ${runId} and status = ${statusBefore} returning id`,
  )
  return rows.length > 0
}

/** Forgets runs older than 30 days, but for the newest. */
export async function forgetOldRuns(executor: Executor): Promise<void> {
  await query(
    executor,
    sql`delete from clerk_sync.runs where started_at < now() - interval '30 days'
        -- the newest run stays
        and id < (select max(id) from clerk_sync.runs)`,
  )
}

/** The error of a run that was silent for too long and has been replaced. */
export function leaseLost(runId: number): SyncError {
  return new SyncError('busy', 'this run was silent for too long and lost its lease', {
    hint: 'Another run has taken over. `npm run status` shows it.',
    facts: { runId, lost: 'lease' },
  })
}

/**
 * Adds to what the run has deleted, in the transaction that deletes: whatever becomes of the run, the guard counts these
 * rows. Throws `busy` if the run is no longer `running`.
 */
export async function countDeletions(tx: Executor, runId: number, deleted: number): Promise<void> {
  const rows = await query(
    tx,
    sql`update clerk_sync.runs set deleted = deleted + ${deleted}::integer, deleted_at = clock_timestamp()
        -- a lost lease deletes nothing
        where id = ${runId} and status = 'running' returning id`,
  )
  if (rows.length === 0) throw leaseLost(runId)
}

/**
 * How many rows the runs have deleted within an hour, approved ones left out: what the guard counts. A run that has
 * deleted within the hour counts whole. Tombstones would not do: a user who comes back takes theirs away.
 */
export async function countRecentDeletions(executor: Executor, catalog: TableCatalog): Promise<number> {
  if (!catalog.ownColumns.has('runs.deleted')) return 0
  const [row] = await query<{ count: number }>(
    executor,
    sql`select coalesce(sum(deleted), 0)::float8 as count from clerk_sync.runs
        where deleted_at > now() - interval '1 hour'
        -- approved rows are not counted
        and approve_deletes is null`,
  )
  return row?.count ?? 0
}

/** One row of the history, as `status` shows it. */
export interface PastRun {
  runId: number
  pass: string
  trigger: string
  status: string
  /** Null where the run ended before Clerk named the instance. */
  instanceId: string | null
  host: string
  startedAt: string
  finishedAt: string | null
  heartbeatAt: string
  counts: Record<string, number> | null
  requests: Record<string, number> | null
  notes: string[] | null
  rejected: { clerkId: string; reason: string }[] | null
  /** The first 100 rows whose deletion was withheld, and since when passes have missed their users; null: since this run. */
  withheld: { clerkId: string; missedSince: string | null }[] | null
  error: { kind: string; message: string; hint?: string | null } | null
}

/** The newest runs, newest first; none where nothing ever ran. */
export async function readRuns(executor: Executor, limit: number, catalog: TableCatalog): Promise<PastRun[]> {
  if (!catalog.ownTables.has('runs')) return []
  const iso = (column: string) =>
    sql`to_char(${sql.identifier(column)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`
  const withheld = catalog.ownColumns.has('runs.withheld') ? sql`withheld` : sql`null`
  const rows = await query<{ run: PastRun | string }>(
    executor,
    sql`select json_build_object('runId', id, 'pass', pass, 'trigger', trigger, 'status', status,
          'instanceId', instance_id, 'host', host, 'startedAt', ${iso('started_at')}, 'finishedAt', ${iso('finished_at')},
          'heartbeatAt', ${iso('heartbeat_at')}, 'counts', counts, 'requests', requests, 'notes', notes,
          'rejected', rejected, 'withheld', ${withheld}, 'error', error) as run
        from clerk_sync.runs order by id desc limit ${limit}`,
  )
  return rows.map(({ run }) => (typeof run === 'string' ? (JSON.parse(run) as PastRun) : run))
}

const isAlive = sql`(status = 'running' and heartbeat_at between now() - ${silentAfter} and ${soon})`

/** A worker's run that is under way or met its end. */
const isTaken = (tick: Tick) =>
  sql`exists (select from clerk_sync.runs
        where pass = any(${arrayParameter(tick.passes, 'text')})
          -- only what workers start
          and trigger in ('schedule', 'start')
          -- what failed does not count
          and (status in ('succeeded', 'partial', 'withheld') or ${isAlive})
          -- earlier runs took earlier ticks
          and started_at > now() - ${tick.seconds}::float8 * interval '1 second'
          -- future runs have another clock
          and started_at <= ${soon})`

/** Whether a worker is running this tick or has run it. */
export async function hasRun(executor: Executor, tick: Tick): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(executor, sql`select ${isTaken(tick)} as found`)
  return row?.found === true
}

/** Whether a run that has not fallen silent holds the lease. */
export async function isLeaseHeld(executor: Executor): Promise<boolean> {
  const rows = await query(executor, sql`select from clerk_sync.runs where ${isAlive} and ${needsLease}`)
  return rows.length > 0
}

/** Seconds since the last full pass that came to its end began; undefined if there was none. */
export async function lastFullPassAge(executor: Executor): Promise<number | undefined> {
  const [row] = await query<{ age: number | null }>(
    executor,
    sql`select extract(epoch from now() - max(started_at))::float8 as age from clerk_sync.runs
        -- only passes that ended
        where pass = 'full' and status in ('succeeded', 'partial', 'withheld') and started_at <= ${soon}`,
  )
  return row?.age ?? undefined
}
