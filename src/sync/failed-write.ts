// What becomes of changes that Postgres does not take: the type that the writer asks, and failed-writes.ts and settle.ts
// implement.
import type { WriteError } from '../db/database.ts'
import type { SyncError } from '../errors.ts'
import type { Finding } from './finding.ts'
import type { Change } from './plan.ts'

/** What becomes of refused changes; `error` ends the run. */
export interface FailedWrites {
  readonly finding: Finding
  readonly error?: SyncError | undefined
}

/** Says what becomes of refused changes. Returns undefined where smaller parts of them have to be tried first. */
export type FailureHandler = (changes: readonly Change[], failure: WriteError) => FailedWrites | undefined
