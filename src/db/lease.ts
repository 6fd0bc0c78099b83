// The lease: the running row of `clerk_sync.runs` is the right to run. It is kept by heartbeats on Postgres's clock, and
// every transaction that writes looks at it first, so that a holder that slept stops.
import { sql } from 'drizzle-orm'
import { SyncError } from '../errors.ts'
import { bringBackTimes, soon } from './clock.ts'
import { arrayParameter, type Database, type Executor, query, transaction } from './database.ts'
import { insertRun, insertTries, type NewRun } from './runs.ts'

/** A holder silent for longer has died or sleeps; six heartbeats. */
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

/** A turn of a schedule, of which one worker takes care. */
export interface Tick {
  /** The passes that do what this tick asks for. */
  readonly passes: readonly string[]
  /** A run that began within this time before now is this tick's. */
  readonly seconds: number
}

/** A run for a single user writes its line beside the lease: it neither takes the lease nor holds it up. */
const needsLease = sql`pass <> 'user'`

/**
 * Takes the lease, or returns its holder: undefined if a run has taken care of the tick meanwhile. A silent holder is marked
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
    if (tryNumber === insertTries) return { holder: undefined }
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
  const taken = await insertRun(tx, run, {
    status: 'running',
    hasFreeNumber: isRepeat,
    unless: tick && isTaken(tick),
  })
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

/** The error of a run that was silent for too long and has been replaced. */
export function leaseLost(runId: number): SyncError {
  return new SyncError('busy', 'this run was silent for too long and lost its lease', {
    hint: 'Another run has taken over. `npm run status` shows it.',
    facts: { runId, lost: 'lease' },
  })
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
