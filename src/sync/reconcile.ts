// One run, from the first look to the report. Nothing is written before the key's instance is known to be the table's.
import { readClock } from '../db/clock.ts'
import { readShape, type Shape } from '../db/shape.ts'
import { endsHold } from './allowance.ts'
import { noteEarlyEnd } from './early-end.ts'
import { noteForecast } from './forecast.ts'
import { runFullPass } from './full-pass.ts'
import { checkInstance, type InstanceCheck, requireSameInstance } from './instance.ts'
import { keepLease, takeLease } from './lease.ts'
import { recordRun } from './ledger-entry.ts'
import { reconcileUser } from './one-user.ts'
import { asOperatingError } from './operating-error.ts'
import { openPass, type RunOfPass, readPassStart } from './pass-context.ts'
import { bindTable, holdOfBinding, migrateTable } from './prepare.ts'
import { logStart } from './run-log.ts'
import { buildReport } from './run-report.ts'
import type { RunDeps, RunOutcome, RunRequest } from './run-request.ts'
import { newRun, type Run } from './run-state.ts'
import { tryIncrementalPass } from './step-up.ts'
import { rejectAfterStop } from './stop-timer.ts'
import { unfillableColumnNotes, warnOfUnfillableColumns } from './unfillable-columns.ts'

/** Runs once and reports; never throws for what an operator can meet, since the report says it. */
export async function reconcile(request: RunRequest, deps: RunDeps): Promise<RunOutcome> {
  const run = newRun(request)
  const { signal } = deps.stop
  let error: unknown
  try {
    await Promise.race([execute(request, deps, run), rejectAfterStop(signal)])
  } catch (thrown) {
    error = asOperatingError(thrown)
  }
  // Where one of several questions at once has failed, the others and those that queue would go on without the run.
  deps.clerk.close()
  let report = buildReport(request, deps, run, error)
  if (run.lease !== undefined) {
    deps.onPhase?.('recording')
    const failure = await recordRun(deps.database, run, run.lease, report, signal.aborted)
    if (failure !== undefined && error === undefined) {
      error = failure
      report = buildReport(request, deps, run, error)
    }
  } else if (run.hasLedger && !request.dryRun && report.status !== 'skipped') {
    report = { ...report, runId: await noteEarlyEnd(report, run.tally, deps, request.options) }
  }
  return { report, rejections: run.tally.rejections(), error, complete: run.tally.complete }
}

async function execute(request: RunRequest, deps: RunDeps, run: Run): Promise<void> {
  const { database } = deps
  const shape = await readShape(database.db)
  run.hasLedger = shape.ownTables.has('runs')
  deps.onPhase?.('instance')
  const instance = await checkInstance(deps.clerk, database.db, shape, request.acceptInstance)
  run.instanceId = instance.instanceId
  if (request.userId !== undefined) requireSameInstance(instance)
  for (const note of unfillableColumnNotes(shape)) run.tally.notes.add(note)
  await (request.dryRun ? executeDryRun : executeUnderLease)(request, deps, run, instance, shape)
}

async function executeDryRun(
  request: RunRequest,
  deps: RunDeps,
  run: Run,
  instance: InstanceCheck,
  shape: Shape,
): Promise<void> {
  const { database, log } = deps
  logStart(request, deps, run)
  warnOfUnfillableColumns(shape, log)
  const startedAt = await readClock(database.db)
  const holdToCome = await holdOfBinding(database.db, instance, shape)
  await runPass(request, deps, run, shape, { runId: null, startedAt, holdToCome })
  await noteForecast(database, { instance, shape, tally: run.tally })
}

async function executeUnderLease(
  request: RunRequest,
  deps: RunDeps,
  run: Run,
  instance: InstanceCheck,
  found: Shape,
): Promise<void> {
  const { database, log } = deps
  deps.onPhase?.('migrating')
  const { shape, applied } = await migrateTable(database)
  // A single user's run gets its line at once, whoever holds the lease: the guard counts what it deletes.
  const { trigger, options, tick } = request
  const approveDeletes = options.approveDeletes ?? null
  const line = { pass: run.pass, trigger, instanceId: instance.instanceId, approveDeletes }
  const lease = await takeLease(database, line, log, tick)
  run.lease = lease
  logStart(request, deps, run)
  if (applied > 0) log.info({ applied }, 'migrations applied')
  warnOfUnfillableColumns(found, log)
  const kept = keepLease(deps.heartbeatDatabase, lease.runId, deps.stop, log)
  try {
    await bindTable(database, instance)
    run.hasBound = !instance.isBound
    await runPass(request, deps, run, shape, { runId: lease.runId, startedAt: lease.startedAt })
  } finally {
    kept.release()
  }
}

/** Runs the pass that was asked for, or the full pass that has to follow. */
async function runPass(
  request: RunRequest,
  deps: RunDeps,
  run: Run,
  shape: Shape,
  ofPass: RunOfPass,
): Promise<void> {
  const start = await readPassStart(deps, shape, ofPass)
  run.start = start
  let pass = await openPass(request, deps, start, run.tally)
  if (request.userId !== undefined) return reconcileUser(pass, request.userId)
  if (run.pass === 'incremental') {
    const result = await tryIncrementalPass(pass, start.state)
    if (!('stepUp' in result)) {
      run.progress = { ...result, fullPassDueInMs: undefined }
      return
    }
    deps.log.info({ reason: result.stepUp }, 'a full pass follows')
    run.pass = 'full'
    const { altered } = run.tally
    run.tally = run.tally.afterStepUp(
      `an incremental pass was asked for and a full pass was made: ${result.stepUp}`,
      request.dryRun,
    )
    pass = await openPass(request, deps, start, run.tally, altered)
  }
  run.progress = await runFullPass(pass)
  if (run.progress !== undefined && endsHold(run.tally, request.options, start.hold)) {
    run.endedHold = start.hold
  }
}
