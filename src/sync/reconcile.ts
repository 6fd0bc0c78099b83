// One run, from the first look to the report. Nothing is written before the key's instance is known to be the table's.
import { hostname } from 'node:os'
import { sql } from 'drizzle-orm'
import type { ClerkClient } from '../clerk/api.ts'
import { type Database, PostgresRefusal, query, transaction } from '../db/database.ts'
import {
  acquireLease,
  finishRun,
  forgetOldRuns,
  heartbeat,
  type Lease,
  leaseLost,
  type RunRecord,
} from '../db/ledger.ts'
import { migrate } from '../db/migrate.ts'
import { readShape, type Shape } from '../db/shape.ts'
import { bindInstance, saveWatermark } from '../db/state.ts'
import { forgetOldTombstones } from '../db/users.ts'
import { isSyncError, SyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import { runFullPass } from './full-pass.ts'
import { checkInstance, type InstanceCheck } from './instance.ts'
import { type Pass, type PassOptions, type Rejection, type ShownChange, Tally } from './pass.ts'
import { describeError, type Report, statusOf } from './report.ts'

/** Six heartbeats fit into the silence after which a holder counts as gone. */
const heartbeatIntervalMs = 5000

/** What one run is asked to do. */
export interface RunRequest {
  readonly trigger: 'cli' | 'schedule' | 'http' | 'start'
  readonly dryRun: boolean
  readonly acceptInstance: string | undefined
  readonly options: PassOptions
}

/** What one run works with. The caller opens and closes the databases. */
export interface RunParts {
  /** Made for this run; it ends with `stop`. */
  readonly clerk: ClerkClient
  readonly database: Database
  /** One connection of its own, so that a heartbeat never waits for a page. */
  readonly heartbeatDatabase: Database
  readonly log: Log
  /** Aborting it with a `SyncError` as its reason ends the run: a signal does, and so does a lost lease. */
  readonly stop: AbortController
  readonly onProgress: (seen: number, total: number) => void
  readonly onChange: (change: ShownChange) => void
}

export interface RunOutcome {
  readonly report: Report
  readonly rejections: readonly Rejection[]
  /** What the run ended with, undefined if it met its end. */
  readonly error: unknown
  /** False if Clerk could not be read to the end. */
  readonly complete: boolean
}

/** Runs once and reports; never throws for what an operator can meet, since the report says it. */
export async function reconcile(request: RunRequest, parts: RunParts): Promise<RunOutcome> {
  const startedAt = new Date()
  const tally = new Tally()
  const run: Run = { instanceId: null, lease: undefined, watermark: undefined }
  let error: unknown
  try {
    await execute(request, parts, tally, run)
  } catch (thrown) {
    error = asOperatingError(thrown)
  }
  let report = reportOf(request, parts, tally, run, startedAt, error)
  if (run.lease !== undefined) {
    const failure = await record(parts.database, run, run.lease, report, tally)
    if (failure !== undefined && error === undefined) {
      error = failure
      report = reportOf(request, parts, tally, run, startedAt, error)
    }
  }
  for (const { clerkId, reason } of tally.rejections()) parts.log.warn({ clerkId, reason }, 'user rejected')
  return { report, rejections: tally.rejections(), error, complete: tally.complete }
}

/** What has been settled so far, for a report that is true wherever the run ends. */
interface Run {
  instanceId: string | null
  lease: Lease | undefined
  /** Undefined unless the pass met its end. */
  watermark: number | null | undefined
}

async function execute(request: RunRequest, parts: RunParts, tally: Tally, run: Run): Promise<void> {
  const { database, clerk, log } = parts
  const shape = await readShape(database.db)
  const instance = await checkInstance(clerk, database.db, shape, request.acceptInstance)
  run.instanceId = instance.instanceId
  warnOfUnfillableColumns(shape, tally, log)
  if (request.dryRun) {
    const [clock] = await query<{ now: number }>(
      database.db,
      sql`select (extract(epoch from now()) * 1000)::float8 as now`,
    )
    await runFullPass(passOf(request, parts, tally, shape, undefined, clock?.now ?? Date.now()))
    return
  }
  const { applied } = await migrate(database)
  if (applied > 0) log.info({ applied }, 'migrations applied')
  const lease = await takeLease(request, parts, instance)
  run.lease = lease
  await bind(database, instance)
  const beat = startHeartbeat(parts, lease.runId)
  try {
    const migrated = await readShape(database.db)
    const result = await runFullPass(passOf(request, parts, tally, migrated, lease.runId, lease.startedAt))
    if (tally.complete) run.watermark = result.watermark
  } finally {
    await beat.stop()
  }
}

function passOf(
  request: RunRequest,
  parts: RunParts,
  tally: Tally,
  shape: Shape,
  runId: number | undefined,
  startedAt: number,
): Pass {
  return {
    clerk: parts.clerk,
    database: parts.database,
    shape,
    options: request.options,
    runId,
    youngSince: startedAt - request.options.graceMs,
    signal: parts.stop.signal,
    log: parts.log,
    tally,
    clock: { startedAt: undefined, latest: undefined, graceMs: request.options.graceMs },
    onProgress: parts.onProgress,
    onChange: parts.onChange,
  }
}

function warnOfUnfillableColumns(shape: Shape, tally: Tally, log: Log): void {
  for (const column of shape.unfillableColumns) {
    tally.notes.add(
      `users.${column} must be given and has no default: new users may be refused until it has one`,
    )
    log.warn({ column }, 'a column of the users table must be given and has no default')
  }
}

async function takeLease(request: RunRequest, parts: RunParts, instance: InstanceCheck): Promise<Lease> {
  const taken = await acquireLease(parts.database, {
    pass: 'full',
    trigger: request.trigger,
    instanceId: instance.instanceId,
    host: `${hostname()}:${process.pid}`,
    approveDeletes: request.options.approveDeletes ?? null,
  })
  if ('holder' in taken) {
    const { runId, host, runningForSeconds } = taken.holder
    throw new SyncError('busy', 'another run holds the lease', {
      hint: `Run ${runId} on ${host} has been at it for ${runningForSeconds} s. Try again when it has ended.`,
      facts: { runId, host, runningForSeconds },
    })
  }
  for (const runId of taken.abandoned)
    parts.log.warn({ runId }, 'a run that fell silent was marked abandoned')
  return taken
}

async function bind(database: Database, instance: InstanceCheck): Promise<void> {
  const bound = await transaction(database, (tx) => bindInstance(tx, instance.instanceId, instance.replaced))
  if (bound === instance.instanceId) return
  throw new SyncError('refused', 'another run has just bound the table to another instance', {
    hint: 'Two keys of different instances are in use for this database. Keep one.',
    facts: { instanceId: instance.instanceId, bound: bound ?? 'none' },
  })
}

/** Heartbeats until stopped. A lost lease ends the run; a beat that does not get through does not, the next one may. */
function startHeartbeat(parts: RunParts, runId: number): { stop(): Promise<void> } {
  let beating: Promise<void> = Promise.resolve()
  const beat = async () => {
    try {
      const isOurs = await heartbeat(parts.heartbeatDatabase.db, runId)
      if (!isOurs) parts.stop.abort(leaseLost(runId))
    } catch (error) {
      parts.log.warn({ runId, error }, 'a heartbeat did not get through')
    }
  }
  const timer = setInterval(() => {
    beating = beating.then(beat)
  }, heartbeatIntervalMs)
  return {
    stop() {
      clearInterval(timer)
      return beating
    },
  }
}

/** Writes the end of the run to the ledger. Gives the failure if that was not possible. */
async function record(
  database: Database,
  run: Run,
  lease: Lease,
  report: Report,
  tally: Tally,
): Promise<unknown> {
  const { pass, status, counts, requests, notes, error } = report
  const entry: RunRecord = { pass, status, counts, requests, notes, rejected: tally.rejections(), error }
  try {
    const wasOurs = await transaction(database, async (tx) => {
      if (!(await finishRun(tx, lease.runId, entry))) return false
      if (run.watermark !== undefined && run.instanceId !== null) {
        await saveWatermark(tx, run.instanceId, run.watermark)
        await forgetOldRuns(tx)
        await forgetOldTombstones(tx)
      }
      return true
    })
    return wasOurs ? undefined : leaseLost(lease.runId)
  } catch (failure) {
    return asOperatingError(failure)
  }
}

function reportOf(
  request: RunRequest,
  parts: RunParts,
  tally: Tally,
  run: Run,
  startedAt: Date,
  error: unknown,
): Report {
  const finishedAt = new Date()
  return {
    runId: run.lease?.runId ?? null,
    pass: 'full',
    trigger: request.trigger,
    status: statusOf(tally, request.options.policy, error),
    dryRun: request.dryRun,
    instanceId: run.instanceId,
    counts: tally.total(),
    requests: { ...parts.clerk.requests },
    notes: notesOf(tally),
    startedAt: startedAt.toISOString(),
    finishedAt: finishedAt.toISOString(),
    durationMs: finishedAt.getTime() - startedAt.getTime(),
    error: describeError(error),
  }
}

function notesOf(tally: Tally): string[] {
  const short = `${tally.shortfall} users that Clerk counts were on no page`
  return tally.shortfall > 0 ? [...tally.notes, short] : [...tally.notes]
}

/** What Postgres refused outside of any user's write is a matter of trying again. */
function asOperatingError(error: unknown): unknown {
  if (isSyncError(error) || !(error instanceof PostgresRefusal)) return error
  return new SyncError('transient', 'Postgres could not carry out a statement', {
    hint: 'A lock or a timeout of the database was in the way. Try again later.',
    facts: { code: error.code },
  })
}
