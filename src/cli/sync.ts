// `sync`: one run, then the report and an exit code that tells the truth.
import type { Config } from '../config/config.ts'
import { isoTime } from '../db/times.ts'
import type { LostRow } from '../sync/pass.ts'
import { exitCodeOf, rejectionLines, summaryOf } from '../sync/report.ts'
import { logOutcome } from '../sync/run-log.ts'
import type { RunOutcome } from '../sync/run-request.ts'
import { clerkIdOf, columnChanges } from './changes.ts'
import { type CommandDatabase, type OpenEmbeddedPostgres, openCommandDatabase } from './database.ts'
import { type Format, type Output, sayEmbedded } from './output.ts'
import { createPlanText, type PlanText } from './plan-text.ts'
import { type CommandRunDeps, type RunFlags, runOnce } from './run.ts'
import { stopOnSignals } from './signals.ts'
import { watchWaits } from './waits.ts'

export interface SyncFlags extends RunFlags {
  readonly showValues: boolean
  readonly all: boolean
  readonly detailedExitcode: boolean
  readonly json: boolean
  readonly format: Format | undefined
  readonly skipIfRunning: boolean
}

/** More named on a terminal scrolls the summary away; the log and `status` have them. */
const rejectionsShown = 20

/** Runs once. Returns the exit code. Throws `SyncError` if the run cannot begin. */
export async function syncCommand(
  config: Config,
  flags: SyncFlags,
  output: Output,
  openEmbedded: OpenEmbeddedPostgres | undefined,
): Promise<number> {
  for (const warning of config.warnings) output.log.warn(warning)
  const stop = new AbortController()
  // Before the database is opened: an embedded Postgres must not be left behind.
  const forget = stopOnSignals(stop, (signal) => output.log.warn({ signal }, 'stopping'))
  let database: CommandDatabase | undefined
  try {
    database = await openCommandDatabase(config.database, openEmbedded, (message) =>
      output.log.info(message),
    ).catch((error) => {
      // Ctrl-C reaches the programs that make the embedded Postgres too.
      throw stop.signal.aborted ? stop.signal.reason : error
    })
    if (database.embeddedUrl !== undefined) sayEmbedded(database.embeddedUrl, output)
    const plan = flags.dryRun && output.isText ? createPlanText({ ...flags, say: output.say }) : undefined
    const waits = watchWaits(output)
    const outcome = await runOnce(config, flags, {
      database,
      log: output.log,
      stop,
      onWait: waits.begin,
      onPhase: waits.phase,
      ...watching(flags, output, plan, waits.move),
    }).finally(waits.stop)
    output.progress.stop()
    plan?.end(outcome.report)
    show(outcome, output)
    return exitCodeOf(outcome, flags)
  } finally {
    output.progress.stop()
    // The report has been given; what becomes of the connections does not change it.
    await database?.close().catch((error) => output.log.warn({ err: error }, 'the database did not close'))
    forget()
  }
}

/** The callbacks while the run is under way. */
function watching(
  flags: SyncFlags,
  output: Output,
  plan: PlanText | undefined,
  onMove: () => void,
): Pick<CommandRunDeps, 'onProgress' | 'onChange'> {
  let isStarted = false
  return {
    onProgress(seen, total) {
      if (!isStarted) output.progress.start(total)
      isStarted = true
      output.progress.update(seen)
      onMove()
    },
    onChange(change) {
      if (plan !== undefined) {
        plan.add(change)
        return
      }
      const facts = {
        clerkId: clerkIdOf(change),
        change: change.kind,
        columns: columnChanges(change, flags.showValues),
        ...('change' in change ? {} : lostFacts(change)),
      }
      output.log.info(facts, 'would change')
    },
  }
}

/** What is known of a row without a user, for the log. */
function lostFacts({ row, missedSince }: LostRow): Record<string, string | null> {
  const time = (milliseconds: number | null | undefined) =>
    milliseconds === null || milliseconds === undefined ? null : isoTime(milliseconds)
  return { lastChanged: time(row?.clerkUpdatedAt), missedSince: time(missedSince) }
}

/** The report, and either text or log lines that say what became of the run. As text an error is the last thing. */
function show(outcome: RunOutcome, output: Output): void {
  const { report, rejections } = outcome
  output.json(report)
  if (!output.isText) {
    logOutcome(output.log, outcome)
    return
  }
  for (const line of rejectionLines(rejections, rejectionsShown)) output.say(line)
  for (const note of report.notes) output.say(`note: ${note}`)
  output.say(summaryOf(report))
  if (report.error !== null) {
    // With the causes, which the report leaves out.
    output.log.debug({ err: outcome.error }, 'run failed')
    output.sayError(`error: ${report.error.message}`)
    if (report.error.hint !== undefined) output.sayError(report.error.hint)
  }
}
