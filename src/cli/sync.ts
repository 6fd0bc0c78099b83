// `sync`: one run, then the report and an exit code that tells the truth.
import { createClerkClient } from '../clerk/api.ts'
import type { Config } from '../config.ts'
import { SyncError } from '../errors.ts'
import { type RunOutcome, type RunParts, type RunRequest, reconcile } from '../sync/reconcile.ts'
import { exitCodeOf, rejectionLines, summaryOf } from '../sync/report.ts'
import { changeLine, clerkIdOf, columnChanges } from './changes.ts'
import type { Output } from './output.ts'
import { openTarget, type Target } from './target.ts'

export interface SyncFlags {
  readonly dryRun: boolean
  readonly showValues: boolean
  readonly detailedExitcode: boolean
  readonly json: boolean
  readonly skipIfRunning: boolean
  readonly approveDeletes: number | undefined
  readonly acceptInstance: string | undefined
}

/** The most users that Clerk gives in one page. */
const pageSize = 500
/** How long Clerk's count may lag behind before it is believed. */
const recountDelayMs = 3000
/** More named on a terminal scrolls the summary away; the log and `status` have them. */
const rejectionsShown = 20

/** Runs once. Gives the exit code. Throws `SyncError` for what keeps the run from beginning. */
export async function syncCommand(config: Config, flags: SyncFlags, output: Output): Promise<number> {
  for (const warning of config.warnings) output.log.warn(warning)
  const stop = new AbortController()
  const target = await openTarget(config.database, (message) => output.log.info(message))
  const forget = stopOnSignals(stop)
  try {
    if (target.embeddedUrl !== undefined) sayEmbedded(target.embeddedUrl, output)
    const outcome = await reconcile(requestOf(config, flags), partsOf(config, flags, output, target, stop))
    output.progress.stop()
    show(outcome, output)
    return exitCodeOf(outcome, flags)
  } finally {
    output.progress.stop()
    await target.close()
    forget()
  }
}

function requestOf(config: Config, flags: SyncFlags): RunRequest {
  return {
    trigger: 'cli',
    dryRun: flags.dryRun,
    acceptInstance: flags.acceptInstance,
    options: {
      policy: config.policy,
      graceMs: config.graceMs,
      maxDeletes: config.maxDeletes,
      approveDeletes: flags.approveDeletes,
      pageSize,
      recountDelayMs,
    },
  }
}

function partsOf(
  config: Config,
  flags: SyncFlags,
  output: Output,
  target: Target,
  stop: AbortController,
): RunParts {
  let isStarted = false
  return {
    clerk: createClerkClient({
      secretKey: config.clerk.secretKey,
      apiUrl: config.clerk.apiUrl,
      requestsPer10s: config.clerk.requestsPer10s,
      signal: stop.signal,
    }),
    database: target.open(),
    heartbeatDatabase: target.open({ connections: 1, applicationName: 'clerk-sync heartbeat' }),
    log: output.log,
    stop,
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

/** A first signal ends the run in good order, a second one at once. Gives how to stop listening. */
function stopOnSignals(stop: AbortController): () => void {
  const onSignal = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143)
    stop.abort(
      new SyncError('aborted', 'stopped by a signal', {
        hint: 'What was written stays; the next run goes on from there.',
        facts: { signal },
      }),
    )
  }
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  return () => process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
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
