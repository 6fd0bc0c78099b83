// `worker`: the service that `npm start` runs. It ends with 0 after a signal.

import { createClerkClient } from '../clerk/api.ts'
import type { Config } from '../config/config.ts'
import { linkedAbortController } from '../deadline.ts'
import { noProgress } from '../progress.ts'
import { logOutcome } from '../sync/run-log.ts'
import type { RunOutcome } from '../sync/run-request.ts'
import type { ScheduledRun } from '../worker/schedules.ts'
import { runWorker } from '../worker/worker.ts'
import { type CommandDatabase, type OpenEmbeddedPostgres, openCommandDatabase } from './database.ts'
import { type Output, sayEmbedded } from './output.ts'
import { runOnce } from './run.ts'
import { stopOnSignals } from './signals.ts'
import { watchWaits } from './waits.ts'

/** Webhooks come in bursts; each holds a connection for a few milliseconds. */
const webhookConnections = 8
/** What has not ended by itself by then has been waiting for a database that does not answer. */
const closeSecondsMax = 1

/** Runs until a signal. Throws `SyncError` for what keeps it from working at all. */
export async function workerCommand(
  config: Config,
  output: Output,
  openEmbedded: OpenEmbeddedPostgres | undefined,
): Promise<void> {
  const { log } = output
  for (const warning of config.warnings) log.warn(warning)
  const stop = new AbortController()
  const forget = stopOnSignals(stop, (signal) => log.info({ signal }, 'stopping'))
  let database: CommandDatabase | undefined
  try {
    database = await openCommandDatabase(config.database, openEmbedded, (message) => log.info(message))
    if (database.embeddedUrl !== undefined) sayEmbedded(database.embeddedUrl, output)
    await serve(config, output, database, stop.signal)
  } catch (error) {
    // Ctrl-C reaches the programs that make the embedded Postgres too.
    if (database !== undefined || !stop.signal.aborted) throw error
  } finally {
    await database
      ?.close(closeSecondsMax)
      .catch((error) => log.warn({ err: error }, 'the database did not close'))
    forget()
  }
}

async function serve(
  config: Config,
  { log }: Output,
  database: CommandDatabase,
  signal: AbortSignal,
): Promise<void> {
  await runWorker({
    http: config.http,
    schedule: config.schedule,
    policy: config.policy,
    webhookSecrets: config.clerk.webhookSecrets,
    database: database.open({
      connections: webhookConnections,
      applicationName: 'clerk-sync worker',
      deleteMsMax: config.deleteMsMax,
    }),
    clerk: () => createClerkClient({ ...config.clerk, signal }),
    run: runsOf(config, database, log, signal),
    log,
    signal,
  })
}

/** The runs of a worker's life, each over connections of its own and with a line in the log. */
export function runsOf(
  config: Config,
  database: CommandDatabase,
  log: Output['log'],
  signal: AbortSignal,
): (asked: ScheduledRun) => Promise<RunOutcome> {
  return async ({ pass, trigger, tick }) => {
    // A controller of its own for each run, since a lost lease ends the run and not the worker.
    const { controller: stop, release } = linkedAbortController(signal)
    const flags = {
      incremental: pass === 'incremental',
      user: undefined,
      dryRun: false,
      approveDeletes: undefined,
      acceptInstance: undefined,
    }
    const waits = watchWaits({ progress: noProgress, log })
    const outcome = await runOnce(config, flags, {
      ...{ database, log, trigger, tick, stop },
      onWait: waits.begin,
      onPhase: waits.phase,
      onProgress: waits.move,
      onChange() {},
    }).finally(() => {
      waits.stop()
      release()
    })
    logOutcome(log, outcome)
    return outcome
  }
}
