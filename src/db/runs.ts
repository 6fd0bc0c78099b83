// The history of runs: a line for each in `clerk_sync.runs`, of which the running one is the lease (lease.ts).
import { type SQL, sql } from 'drizzle-orm'
import type { TableCatalog } from './catalog.ts'
import { soon } from './clock.ts'
import { type Database, type Executor, query, transaction } from './database.ts'

export interface NewRun {
  pass: string
  trigger: string
  /** Null where the run ended before Clerk named it. */
  instanceId: string | null
  host: string
  approveDeletes: number | null
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

/** Someone who was quicker is seen at the next look; more tries than that are no race. */
export const insertTries = 5

/**
 * Writes a line, if `unless` does not hold. Undefined if it does, the lease is held or the number is taken: after a failover or a restore that left the
 * sequence behind, it gives numbers that there are. The number after the newest is free then, and needs no right to the
 * sequence.
 */
export async function insertRun(
  tx: Executor,
  run: NewRun,
  line: { status: string; hasFreeNumber: boolean; unless?: SQL | undefined },
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
        where not ${line.unless ?? sql`false`}
        on conflict do nothing
        returning id::float8 as id, (extract(epoch from started_at) * 1000)::float8 as started_at`,
  )
  return row && { runId: row.id, startedAt: row.started_at }
}

/**
 * Writes the line of a run that ended before it had one and began `durationMs` ago. Returns its number, undefined if five
 * tries found none that is free.
 */
export async function noteEndedRun(
  database: Database,
  run: NewRun,
  record: RunRecord,
  durationMs: number,
  milliseconds: number,
): Promise<number | undefined> {
  for (let tryNumber = 1; tryNumber <= insertTries; tryNumber++) {
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
