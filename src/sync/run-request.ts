// What one run is asked to do, and what it works with and comes to.
import type { ClerkClient } from '../clerk/api.ts'
import type { Database } from '../db/database.ts'
import type { Tick } from '../db/lease.ts'
import type { Log } from '../log.ts'
import type { Clocks } from './clock.ts'
import type { Rejection } from './finding.ts'
import type { OnPhase, PassOptions, ShownChange } from './pass.ts'
import type { Report } from './report.ts'

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
export interface RunDeps {
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

/** What one run comes to. */
export interface RunOutcome {
  readonly report: Report
  readonly rejections: readonly Rejection[]
  /** The error that ended the run, undefined if it completed. */
  readonly error: unknown
  /** False if Clerk could not be read to the end. */
  readonly complete: boolean
}
