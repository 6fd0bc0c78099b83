// One run, from the first look to the report. Nothing is written before the key's instance is known to be the table's.

import { readCatalog, type TableCatalog } from '../db/catalog.ts'
import { readClock } from '../db/clock.ts'
import { rejectAfterAbort } from '../deadline.ts'
import { noteEarlyEnd } from './early-end.ts'
import { forecast } from './forecast.ts'
import { checkInstance, type InstanceCheck, requireSameInstance } from './instance.ts'
import { keepLease, takeLease } from './lease.ts'
import { asOperatingError } from './operating-error.ts'
import { readPassStart } from './pass-context.ts'
import { bindTable, holdOfBinding, migrateTable } from './prepare.ts'
import { logStart } from './run-log.ts'
import { runPass } from './run-pass.ts'
import { recordRun } from './run-record.ts'
import { buildReport } from './run-report.ts'
import type { RunDeps, RunOutcome, RunRequest } from './run-request.ts'
import { newRun, type Run } from './run-state.ts'
import { unfillableColumnNotes, warnOfUnfillableColumns } from './unfillable-columns.ts'

/** How long the page in hand may take to be committed after a stop, ms. The worker's own end is cut off after 7 s. */
const stopMsMax = 4000

/** Runs once and reports; never throws for what an operator can meet, since the report says it. */
export async function reconcile(request: RunRequest, deps: RunDeps): Promise<RunOutcome> {
  const run = newRun(request)
  const { signal } = deps.stop
  let error: unknown
  try {
    await Promise.race([execute(request, deps, run), rejectAfterAbort(signal, stopMsMax)])
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
    report = { ...report, runId: await noteEarlyEnd(report, run.findings, deps, request.options) }
  }
  return { report, rejections: run.findings.rejections(), error, complete: run.findings.isComplete() }
}

async function execute(request: RunRequest, deps: RunDeps, run: Run): Promise<void> {
  const { database } = deps
  const catalog = await readCatalog(database.db)
  run.hasLedger = catalog.ownTables.has('runs')
  deps.onPhase?.('instance')
  const instance = await checkInstance(deps.clerk, database.db, catalog, request.acceptInstance)
  run.instanceId = instance.instanceId
  if (request.userId !== undefined) requireSameInstance(instance)
  run.findings.add({ notes: unfillableColumnNotes(catalog) })
  await (request.dryRun ? executeDryRun : executeUnderLease)(request, deps, run, instance, catalog)
}

async function executeDryRun(
  request: RunRequest,
  deps: RunDeps,
  run: Run,
  instance: InstanceCheck,
  catalog: TableCatalog,
): Promise<void> {
  const { database, log } = deps
  logStart(request, deps, run)
  warnOfUnfillableColumns(catalog, log)
  const startedAt = await readClock(database.db)
  const holdToCome = await holdOfBinding(database.db, instance, catalog)
  run.start = await readPassStart(deps, catalog, { runId: null, startedAt, holdToCome })
  run.end = await runPass(request, deps, run.start, run.findings)
  await run.findings.collect(forecast(database, { instance, catalog, findings: run.findings }))
}

async function executeUnderLease(
  request: RunRequest,
  deps: RunDeps,
  run: Run,
  instance: InstanceCheck,
  found: TableCatalog,
): Promise<void> {
  const { database, log } = deps
  deps.onPhase?.('migrating')
  const { catalog, applied } = await migrateTable(database)
  // A single user's run gets its line at once, also while another run holds the lease, since the guard counts its deletions.
  const { trigger, options, tick } = request
  const approveDeletes = options.approveDeletes ?? null
  const line = { pass: run.findings.pass, trigger, instanceId: instance.instanceId, approveDeletes }
  const lease = await takeLease(database, line, log, tick)
  run.lease = lease
  logStart(request, deps, run)
  if (applied > 0) log.info({ applied }, 'migrations applied')
  warnOfUnfillableColumns(found, log)
  const kept = keepLease(deps.heartbeatDatabase, lease.runId, deps.stop, log)
  try {
    await bindTable(database, instance)
    run.hasBound = !instance.isBound
    run.start = await readPassStart(deps, catalog, { runId: lease.runId, startedAt: lease.startedAt })
    run.end = await runPass(request, deps, run.start, run.findings)
  } finally {
    kept.release()
  }
}
