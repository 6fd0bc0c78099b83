// One run, from the first look to the report. Nothing is written before the key's instance is known to be the table's.
import type { ClerkClient } from '../clerk/api.ts'
import { readClock } from '../db/clock.ts'
import { type Database, PostgresRefusal, transaction } from '../db/database.ts'
import { forgetFirstSeen } from '../db/first-seen.ts'
import { endHold, readHold } from '../db/hold.ts'
import { finishRun, forgetOldRuns, type Lease, leaseLost, type Tick } from '../db/ledger.ts'
import { readShape, type Shape } from '../db/shape.ts'
import { type Progress, readState, type State, saveProgress } from '../db/state.ts'
import { forgetOldTombstones } from '../db/tombstones.ts'
import { isSyncError, SyncError } from '../errors.ts'
import type { Log } from '../log.ts'
import { endsHold } from './allowance.ts'
import { type Clocks, clientHeardBy, openClerkClock } from './clock.ts'
import type { Difference } from './difference.ts'
import { noteEarlyEnd, recordOf } from './early-end.ts'
import { noteForecast } from './forecast.ts'
import { runFullPass } from './full-pass.ts'
import { runIncrementalPass } from './incremental-pass.ts'
import { checkInstance } from './instance.ts'
import { keepLease, takeLease, thisProcess } from './lease.ts'
import { reconcileUser } from './one-user.ts'
import { type OnPhase, type Pass, type PassOptions, type Rejection, type ShownChange, Tally } from './pass.ts'
import { bindTable, holdOfBinding, migrateTable } from './prepare.ts'
import { describeError, type Report, statusOf } from './report.ts'

/** How long the page in hand may take to be committed after a stop. The worker's own end is cut off after 7 s. */
const stopMsMax = 4000
/** How long the last line in the ledger may take; without it the lease is free 30 s later. */
const recordMsMax = { usual: 10_000, stopped: 3000 }

/** What one run is asked to do. */
export interface RunRequest {
  /** `full` if absent. `user` needs `userId`. */
  readonly pass?: Report['pass']
  readonly userId?: string | undefined
  readonly trigger: 'cli' | 'schedule' | 'start'
  /** The turn of a schedule that this run is; it is skipped if another worker has taken care of it. */
  readonly tick?: Tick | undefined
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
  /** What Clerk's clock is held against: this machine's and Postgres's, unless given. */
  readonly clocks?: Clocks
  readonly log: Log
  /** Of this tool, for the first line of a run. */
  readonly version?: string
  /** Aborting it with a `SyncError` as its reason ends the run: a signal does, and so does a lost lease. */
  readonly stop: AbortController
  readonly onPhase?: OnPhase | undefined
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
  const run: Run = {
    instanceId: null,
    hasLedger: false,
    hasBound: false,
    lease: undefined,
    pass: request.userId === undefined ? (request.pass ?? 'full') : 'user',
    tally: new Tally(),
    known: undefined,
    progress: undefined,
    tableIdentity: null,
    endedHold: undefined,
  }
  let error: unknown
  try {
    await Promise.race([execute(request, parts, run), overdue(parts.stop.signal)])
  } catch (thrown) {
    error = asOperatingError(thrown)
  }
  // Where one of several questions at once has failed, the others and those that queue would go on without the run.
  parts.clerk.close()
  let report = reportOf(request, parts, run, startedAt, error)
  if (run.lease !== undefined) {
    parts.onPhase?.('recording')
    const patienceMs = parts.stop.signal.aborted ? recordMsMax.stopped : recordMsMax.usual
    const failure = await record(parts.database, run, run.lease, report, patienceMs)
    if (failure !== undefined && error === undefined) {
      error = failure
      report = reportOf(request, parts, run, startedAt, error)
    }
  } else if (run.hasLedger && !request.dryRun && report.status !== 'skipped') {
    report = { ...report, runId: await noteEarlyEnd(report, run.tally, parts, request.options) }
  }
  return { report, rejections: run.tally.rejections(), error, complete: run.tally.complete }
}

/** Rejects with the signal's reason some seconds after it: longer than that nobody waits for the page in hand. */
function overdue(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const wait = () => setTimeout(() => reject(signal.reason), stopMsMax).unref()
    if (signal.aborted) wait()
    else signal.addEventListener('abort', wait, { once: true })
  })
}

/**
 * One line for each rejected user and one for the run, a warning where something is left to do; the error with its
 * causes, which the report leaves out.
 */
export function logOutcome(log: Log, { report, rejections, error }: RunOutcome): void {
  for (const { clerkId, reason } of rejections) log.warn({ clerkId, reason }, 'user rejected')
  const isOpen = report.status === 'partial' || report.status === 'withheld'
  if (error === undefined) log[isOpen ? 'warn' : 'info']({ report }, 'run finished')
  else if (report.status === 'skipped') log.info({ report }, 'run skipped')
  else log.error({ report, err: error }, 'run failed')
}

/** What has been settled so far, for a report that is true wherever the run ends. */
interface Run {
  instanceId: string | null
  /** True once Postgres has answered that there is one. */
  hasLedger: boolean
  /** True once it has bound the table to an instance. */
  hasBound: boolean
  /** Its line in the ledger, which is the lease unless it is about a single user. */
  lease: Lease | undefined
  /** What is being done, also after a step up. */
  pass: Report['pass']
  tally: Tally
  /** What the last full pass left open. */
  known: Difference | undefined
  /** Undefined unless a pass met its end. */
  progress: Progress | undefined
  /** The table that the pass began with. */
  tableIdentity: string | null
  /** The hold on deletions that the pass has ended. */
  endedHold: string | undefined
}

async function execute(request: RunRequest, parts: RunParts, run: Run): Promise<void> {
  const { database, log } = parts
  const found = await readShape(database.db)
  run.hasLedger = found.ownTables.has('runs')
  parts.onPhase?.('instance')
  const instance = await checkInstance(parts.clerk, database.db, found, request.acceptInstance)
  run.instanceId = instance.instanceId
  if (request.userId !== undefined && instance.replaced !== undefined) {
    throw movesTable(instance.instanceId, instance.replaced)
  }
  noteUnfillableColumns(found, run.tally)
  if (request.dryRun) {
    logStart(request, parts, run)
    warnOfUnfillableColumns(found, log)
    const startedAt = await readClock(database.db)
    const holdToCome = await holdOfBinding(database.db, instance, found)
    await runPass(request, parts, run, found, { runId: null, startedAt, holdToCome })
    await noteForecast(database, { instance, shape: found, tally: run.tally })
    return
  }
  parts.onPhase?.('migrating')
  const { shape, applied } = await migrateTable(database)
  // A single user's run gets its line at once, whoever holds the lease: the guard counts what it deletes.
  const lease = await takeLease(
    database,
    {
      pass: run.pass,
      trigger: request.trigger,
      instanceId: instance.instanceId,
      approveDeletes: request.options.approveDeletes ?? null,
    },
    log,
    request.tick,
  )
  run.lease = lease
  logStart(request, parts, run)
  if (applied > 0) log.info({ applied }, 'migrations applied')
  warnOfUnfillableColumns(found, log)
  const kept = keepLease(parts.heartbeatDatabase, lease.runId, parts.stop, log)
  try {
    await bindTable(database, instance)
    run.hasBound = !instance.isBound
    await runPass(request, parts, run, shape, lease)
  } finally {
    kept.release()
  }
}

/** Without the lease: a run of the old instance may be under way, and would write and delete in the other one's table. */
function movesTable(instanceId: string, bound: string): SyncError {
  return new SyncError('refused', 'a single user does not move the table to another instance', {
    hint: `Move the whole table first: npm run sync -- --accept-instance ${instanceId}`,
    facts: { instanceId, bound },
  })
}

/** What a pass begins with: its run, Postgres's clock (ms), and in a dry run the hold that binding would bring. */
interface Start {
  readonly runId: number | null
  readonly startedAt: number
  readonly holdToCome?: string | undefined
}

/** The pass that was asked for, or the full pass that has to follow. */
async function runPass(
  request: RunRequest,
  parts: RunParts,
  run: Run,
  shape: Shape,
  start: Start,
): Promise<void> {
  const state = await readState(parts.database.db, shape)
  const left = (state?.difference ?? undefined) as Difference | undefined
  run.known = left
  const altered = new Map(left?.altered ?? [])
  const hold = start.holdToCome ?? (await readHold(parts.database.db, shape))
  const passWith = (tally: Tally): Promise<Pass> =>
    passOf(request, parts, shape, start, { tally, known: left, altered, holdAtStart: hold })
  if (request.userId !== undefined) return reconcileUser(await passWith(run.tally), request.userId)
  run.tableIdentity = state?.tableIdentity ?? null
  if (run.pass === 'incremental') {
    const known = knownState(state)
    // Only what holds is shown: after a step up the full pass plans all of it again.
    const shown: ShownChange[] = []
    const pass = {
      ...(await passWith(run.tally)),
      onChange: (change: ShownChange) => void shown.push(change),
    }
    const result = typeof known === 'string' ? { stepUp: known } : await runIncrementalPass(pass, known)
    if (!('stepUp' in result)) {
      for (const change of shown) parts.onChange(change)
      run.progress = { ...result, fullPassDueInMs: undefined }
      return
    }
    parts.log.info({ reason: result.stepUp }, 'a full pass follows')
    run.pass = 'full'
    for (const [id, fingerprint] of run.tally.altered) altered.set(id, fingerprint)
    run.tally = run.tally.afterStepUp(
      `an incremental pass was asked for and a full pass was made: ${result.stepUp}`,
      request.dryRun,
    )
  }
  run.progress = await runFullPass(await passWith(run.tally))
  if (run.progress !== undefined && endsHold(run.tally, request.options, hold)) run.endedHold = hold
}

/** Where an incremental pass may begin, or why a full pass is due instead. */
function knownState(state: State | undefined): { watermark: number; difference: Difference } | string {
  if (state === undefined || state.watermark === null || state.difference === null) {
    return 'no full pass has been completed yet'
  }
  if (!state.isSameTable)
    return 'the users table is not the one that the last pass left: made anew, restored or emptied'
  if (state.isFullPassDue)
    return 'it is due: what was left for the grace has settled, or the table was migrated'
  return { watermark: state.watermark, difference: state.difference as Difference }
}

async function passOf(
  request: RunRequest,
  parts: RunParts,
  shape: Shape,
  start: Start,
  { tally, known, altered, holdAtStart }: Pick<Pass, 'tally' | 'known' | 'altered' | 'holdAtStart'>,
): Promise<Pass> {
  const clocks = parts.clocks ?? { own: () => Date.now(), postgres: () => readClock(parts.database.db) }
  const clock = await openClerkClock(clocks, request.options.graceMs, (text) => tally.notes.add(text))
  return {
    clerk: clientHeardBy(clock, parts.clerk),
    database: parts.database,
    shape,
    options: request.options,
    dryRun: request.dryRun,
    runId: start.runId,
    startedAt: start.startedAt,
    known,
    youngSince: start.startedAt - request.options.graceMs,
    holdToCome: start.holdToCome,
    holdAtStart,
    altered,
    signal: parts.stop.signal,
    log: parts.log,
    tally,
    clock,
    onPhase: parts.onPhase ?? (() => {}),
    onProgress: parts.onProgress,
    onChange: parts.onChange,
  }
}

function noteUnfillableColumns(shape: Shape, tally: Tally): void {
  for (const column of shape.unfillableColumns) {
    tally.notes.add(
      `users.${column} must be given and has no default: new users may be refused until it has one`,
    )
  }
}

function warnOfUnfillableColumns(shape: Shape, log: Log): void {
  for (const column of shape.unfillableColumns)
    log.warn({ column }, 'a column of the users table must be given and has no default')
}

/** The first line of a run: which program, where, and the number under which the history has it. */
function logStart({ trigger, dryRun }: RunRequest, { log, version }: RunParts, run: Run): void {
  const facts = { runId: run.lease?.runId ?? null, pass: run.pass, trigger, dryRun, host: thisProcess }
  log.info({ version, ...facts }, 'run started')
}

/** Writes the end of the run to the ledger. Gives the failure if that was not possible. */
async function record(
  database: Database,
  run: Run,
  lease: Lease,
  report: Report,
  milliseconds: number,
): Promise<unknown> {
  const entry = recordOf(report, run.tally, run.known)
  try {
    const wasOurs = await transaction(
      database,
      async (tx) => {
        if (!(await finishRun(tx, lease.runId, entry))) return false
        if (run.progress !== undefined && run.instanceId !== null) {
          await saveProgress(tx, run.instanceId, run.progress, run.tableIdentity)
          if (run.endedHold !== undefined) await endHold(tx, run.endedHold)
          await forgetOldRuns(tx)
          await forgetOldTombstones(tx)
          await forgetFirstSeen(tx)
        }
        return true
      },
      milliseconds,
    )
    return wasOurs ? undefined : leaseLost(lease.runId)
  } catch (failure) {
    return asOperatingError(failure)
  }
}

function reportOf(request: RunRequest, parts: RunParts, run: Run, startedAt: Date, error: unknown): Report {
  const finishedAt = new Date()
  return {
    runId: run.lease?.runId ?? null,
    pass: run.pass,
    trigger: request.trigger,
    status: statusOf(run.tally, request.options.policy, error, hasWritten(request, run)),
    dryRun: request.dryRun,
    instanceId: run.instanceId,
    counts: run.tally.total(),
    requests: { ...parts.clerk.requests },
    notes: [...run.tally.allNotes(), ...parts.clerk.notes()],
    startedAt: startedAt.toISOString(),
    finishedAt: finishedAt.toISOString(),
    durationMs: finishedAt.getTime() - startedAt.getTime(),
    error: describeError(error),
  }
}

/** True once the table was bound, or a row of `users` written or deleted. */
function hasWritten(request: RunRequest, run: Run): boolean {
  const { created, updated, refreshed, deleted } = run.tally.total()
  return run.hasBound || (!request.dryRun && created + updated + refreshed + deleted > 0)
}

/** What Postgres refused outside of any user's write is a matter of trying again. */
function asOperatingError(error: unknown): unknown {
  if (isSyncError(error) || !(error instanceof PostgresRefusal)) return error
  return new SyncError('transient', 'Postgres could not carry out a statement', {
    hint:
      error.kind === 'timeout'
        ? 'It was cut off. If that comes again, raise the statement_timeout of the role or the database.'
        : 'A lock of the database was in the way. Try again later.',
    facts: { code: error.code },
  })
}
