// One run as the configuration and the flags of a command line ask for it.
import { createClerkClient } from '../clerk/api.ts'
import type { Config } from '../config/config.ts'
import { reconcile } from '../sync/reconcile.ts'
import type { RunDeps, RunOutcome, RunRequest } from '../sync/run-request.ts'
import type { CommandDatabase } from './database.ts'
import { version } from './version.ts'

/** The flags that a run itself looks at. */
export interface RunFlags {
  readonly incremental: boolean
  readonly user: string | undefined
  readonly dryRun: boolean
  readonly approveDeletes: number | undefined
  /** The digest of the list that was approved; undefined if only a number was. */
  readonly approvedList?: string | undefined
  readonly acceptInstance: string | undefined
}

/** What the caller brings; it closes the database when the run has ended. */
export type CommandRunDeps = Pick<RunDeps, 'log' | 'stop' | 'onPhase' | 'onProgress' | 'onChange'> & {
  readonly onWait?: ((what: string) => () => void) | undefined
  readonly database: CommandDatabase
  readonly trigger?: RunRequest['trigger']
  readonly tick?: RunRequest['tick']
}

/** The most users that Clerk gives in one page. */
const pageSize = 500
/** How long Clerk's count may lag behind before it is believed. */
const recountDelayMs = 3000

/**
 * Normally one is used. If a heartbeat hangs on a dead connection, the next needs another; six heartbeats fit into the 30 s
 * after which the lease is lost.
 */
const heartbeatConnections = 6

/** Runs once, over connections of its own. Never throws for what an operator can meet. */
export async function runOnce(config: Config, flags: RunFlags, deps: CommandRunDeps): Promise<RunOutcome> {
  const { database: commandDatabase, log, stop, onProgress, onChange } = deps
  const database = commandDatabase.open({ deleteMsMax: config.deleteMsMax })
  const heartbeatDatabase = commandDatabase.open({
    connections: heartbeatConnections,
    applicationName: 'clerk-sync heartbeat',
  })
  const outcome = reconcile(
    {
      pass: flags.user !== undefined ? 'user' : flags.incremental ? 'incremental' : 'full',
      userId: flags.user,
      trigger: deps.trigger ?? 'cli',
      tick: deps.tick,
      dryRun: flags.dryRun,
      acceptInstance: flags.acceptInstance,
      options: {
        policy: config.policy,
        graceMs: config.graceMs,
        maxDeletes: config.maxDeletes,
        approveDeletes: flags.approveDeletes,
        approvedList: flags.approvedList,
        pageSize,
        recountDelayMs,
      },
    },
    {
      clerk: createClerkClient({
        secretKey: config.clerk.secretKey,
        apiUrl: config.clerk.apiUrl,
        requestsPer10s: config.clerk.requestsPer10s,
        proxy: config.clerk.proxy,
        signal: stop.signal,
        onWait: deps.onWait,
      }),
      database,
      heartbeatDatabase,
      log,
      version,
      stop,
      onPhase: deps.onPhase,
      onProgress,
      onChange,
    },
  )
  return outcome.finally(() => Promise.all([database.close(), heartbeatDatabase.close()]))
}
