// `sync`: one run, then the report and an exit code that tells the truth.
import type { Config } from '../config.ts'
import type { RunOutcome } from '../sync/reconcile.ts'
import { exitCodeOf, rejectionLines, summaryOf } from '../sync/report.ts'
import { changeLine, clerkIdOf, columnChanges } from './changes.ts'
import type { Output } from './output.ts'
import { type RunFlags, type RunSurroundings, runOnce } from './run.ts'
import { stopOnSignals } from './signals.ts'
import { openTarget, type Target } from './target.ts'

export interface SyncFlags extends RunFlags {
  readonly showValues: boolean
  readonly detailedExitcode: boolean
  readonly json: boolean
  readonly skipIfRunning: boolean
}

/** More named on a terminal scrolls the summary away; the log and `status` have them. */
const rejectionsShown = 20

/** Runs once. Gives the exit code. Throws `SyncError` for what keeps the run from beginning. */
export async function syncCommand(config: Config, flags: SyncFlags, output: Output): Promise<number> {
  for (const warning of config.warnings) output.log.warn(warning)
  const stop = new AbortController()
  // Before the database is opened: an embedded Postgres must not be left behind.
  const forget = stopOnSignals(stop, (signal) => output.log.warn({ signal }, 'stopping'))
  let target: Target | undefined
  try {
    target = await openTarget(config.database, (message) => output.log.info(message)).catch((error) => {
      // Ctrl-C reaches the programs that make the embedded Postgres too.
      throw stop.signal.aborted ? stop.signal.reason : error
    })
    if (target.embeddedUrl !== undefined) sayEmbedded(target.embeddedUrl, output)
    const outcome = await runOnce(config, flags, {
      target,
      log: output.log,
      stop,
      ...watching(flags, output),
    })
    output.progress.stop()
    show(outcome, output)
    return exitCodeOf(outcome, flags)
  } finally {
    output.progress.stop()
    await target?.close()
    forget()
  }
}

/** What is told while the run is under way. */
function watching(flags: SyncFlags, output: Output): Pick<RunSurroundings, 'onProgress' | 'onChange'> {
  let isStarted = false
  return {
    onProgress(seen, total) {
      if (!isStarted) output.progress.start(total)
      isStarted = true
      output.progress.update(seen)
    },
    onChange(change) {
      output.say(changeLine(change, flags.showValues))
      if (output.isTerminal) return
      const facts = {
        clerkId: clerkIdOf(change),
        change: change.kind,
        columns: columnChanges(change, flags.showValues),
      }
      output.log.info(facts, 'would change')
    },
  }
}

/** A person gets the URL to look at the rows with; a log gets it without its password. */
function sayEmbedded(url: string, output: Output): void {
  output.say(`embedded Postgres: ${url}`)
  const address = new URL(url)
  address.password = ''
  output.log.info({ url: address.href }, 'embedded Postgres')
}

function show({ report, rejections, error }: RunOutcome, output: Output): void {
  output.json(report)
  for (const line of rejectionLines(rejections, rejectionsShown)) output.say(line)
  for (const note of report.notes) output.say(`note: ${note}`)
  output.say(summaryOf(report))
  if (report.error !== null) {
    output.say(`error: ${report.error.message}`)
    if (report.error.hint !== undefined) output.say(report.error.hint)
  }
  if (error === undefined) output.log.info({ report }, 'run finished')
  else if (report.status === 'skipped') output.log.info({ report }, 'run skipped')
  // The error once more, with its causes, which the report leaves out.
  else output.log.error({ report, err: error }, 'run failed')
}
