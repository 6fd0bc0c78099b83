// `worker`: the service that `npm start` runs. It ends with 0 after a signal.
import { createClerkClient } from '../clerk/api.ts'
import type { Config } from '../config.ts'
import { logOutcome } from '../sync/reconcile.ts'
import { runWorker } from '../worker/worker.ts'
import { type Output, sayEmbedded } from './output.ts'
import { runOnce } from './run.ts'
import { stopOnSignals } from './signals.ts'
import { openTarget } from './target.ts'

/** Webhooks come in bursts; each holds a connection for a few milliseconds. */
const webhookConnections = 8

/** Runs until a signal. Throws `SyncError` for what keeps it from working at all. */
export async function workerCommand(config: Config, output: Output): Promise<void> {
  const { log } = output
  for (const warning of config.warnings) log.warn(warning)
  const stop = new AbortController()
  const forget = stopOnSignals(stop, (signal) => log.info({ signal }, 'stopping'))
  const target = await openTarget(config.database, (message) => log.info(message))
  try {
    if (target.embeddedUrl !== undefined) sayEmbedded(target.embeddedUrl, output)
    await runWorker({
      http: config.http,
      schedule: config.schedule,
      policy: config.policy,
      webhookSecret: config.clerk.webhookSecret,
      database: target.open({ connections: webhookConnections, applicationName: 'clerk-sync worker' }),
      clerk: () => createClerkClient({ ...config.clerk, signal: stop.signal }),
      async run(pass, trigger) {
        const following = follow(stop.signal)
        const outcome = await runOnce(
          config,
          {
            incremental: pass === 'incremental',
            user: undefined,
            dryRun: false,
            approveDeletes: undefined,
            acceptInstance: undefined,
          },
          { target, log, trigger, stop: following.stop, onProgress() {}, onChange() {} },
        ).finally(following.end)
        logOutcome(log, outcome)
        return outcome
      },
      log,
      signal: stop.signal,
    })
  } finally {
    await target.close()
    forget()
  }
}

/** A controller of its own for each run, since a lost lease ends the run and not the worker. */
function follow(signal: AbortSignal): { stop: AbortController; end: () => void } {
  const stop = new AbortController()
  const onAbort = () => stop.abort(signal.reason)
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return { stop, end: () => signal.removeEventListener('abort', onAbort) }
}
