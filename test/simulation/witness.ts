// What the simulation sees of one run or delivery: what it was asked, what it heard from Clerk, what it did to the table.
import type { Event, Heard, SimulatedClerk } from './clerk.ts'
import type { Snapshot } from './postgres.ts'

/** Something that must never happen has happened. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

/** One run or delivery, as the simulation saw it. */
export interface Witness {
  readonly name: string
  readonly kind: 'full' | 'incremental' | 'user' | 'webhook'
  readonly dryRun: boolean
  readonly approveDeletes: number | undefined
  readonly acceptInstance: boolean
  readonly event: Event | undefined
  /** The instance that its key belongs to. */
  readonly clerk: SimulatedClerk
  /** True if that is another one than the table is about. */
  readonly isOtherKey: boolean
  /** Clerk's clock. */
  readonly startedAt: number
  /** The tables when it began. */
  readonly before: Snapshot
  readonly heard: Heard[]
  readonly counts: { created: number; updated: number; refreshed: number; deleted: number }
  /** How many rows counted as refreshed may have been updated with the values that they had. */
  either: number
  runId: number | undefined
  /** Whether its run was the lease when its transaction began. */
  hadLease: boolean
  /** True once it has bound a table that had rows. */
  isFirstLook: boolean
  /** True once Postgres failed it, so that what is true of a run at peace need not hold. */
  wasFailed: boolean
  /** True once the end of its run stands in the table of runs. */
  hasRecorded: boolean
  /** True if a commit succeeded whose answer never came. */
  wasCommitLost: boolean
}

/** A witness of something that begins now, on Clerk's clock. */
export function witnessOf(
  name: string,
  kind: Witness['kind'],
  clerk: SimulatedClerk,
  before: Snapshot,
  facts: {
    event?: Event
    dryRun?: boolean
    approveDeletes?: number
    acceptInstance?: boolean
    isOtherKey?: boolean
  },
): Witness {
  return {
    name,
    kind,
    dryRun: facts.dryRun ?? false,
    approveDeletes: facts.approveDeletes,
    acceptInstance: facts.acceptInstance ?? false,
    event: facts.event,
    clerk,
    isOtherKey: facts.isOtherKey ?? false,
    startedAt: clerk.now(),
    before,
    heard: [],
    counts: { created: 0, updated: 0, refreshed: 0, deleted: 0 },
    either: 0,
    runId: undefined,
    hadLease: false,
    isFirstLook: false,
    wasFailed: false,
    hasRecorded: false,
    wasCommitLost: false,
  }
}
