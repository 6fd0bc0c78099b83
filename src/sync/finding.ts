// What whatever reads, writes or deletes returns: a part of what a run has found or done. findings.ts folds them.
import type { CurrentRow, DesiredUser } from '../db/schema.ts'
import type { WithheldBecause } from './deletion-policy.ts'

export interface Counts {
  /** Users read, each once. */
  seen: number
  created: number
  /** Rows whose mapped values changed. */
  updated: number
  /** Rows with the same values and a newer version. */
  refreshed: number
  unchanged: number
  deleted: number
  /** Users and rows left for the grace. */
  pending: number
  /** Deletions that the guard or the policy held back. */
  withheld: number
  /** Users that could not be mapped or written. */
  rejected: number
}

export interface Rejection {
  readonly clerkId: string
  readonly reason: string
}

/** A user or a row that waits, and in how many ms a pass may settle it. */
export interface Pending {
  readonly clerkId: string
  readonly settlesInMs: number
}

/** A part of what a run has found or done. Ids are Clerk's. */
export interface Finding {
  /** How many users were read. */
  readonly seen?: number
  /** Users whose very id could not be read. */
  readonly unreadable?: number
  /** Users that are planned now: whatever rejected them before no longer holds. */
  readonly planned?: readonly string[]
  /** Their rows as they were. */
  readonly rows?: readonly CurrentRow[]
  readonly created?: readonly string[]
  readonly updated?: readonly string[]
  readonly refreshed?: readonly string[]
  readonly unchanged?: readonly string[]
  readonly deleted?: readonly string[]
  /** Users left for the grace: some have no row. */
  readonly pendingUsers?: readonly Pending[]
  /** Rows left for the grace, or for answers that agree: their users may live. */
  readonly pendingRows?: readonly Pending[]
  /** Rows that wait for an operator. `namesList` is false where no pass keeps their names. */
  readonly withheld?: {
    readonly ids: readonly string[]
    readonly because: WithheldBecause
    readonly namesList: boolean
  }
  /** Rows without a user that the policy keeps. */
  readonly kept?: readonly string[]
  readonly rejected?: readonly Rejection[]
  /** Rows that Postgres does not delete. */
  readonly undeletable?: readonly Rejection[]
  /** Users whose row the database changed on the way in, and what it made of it. */
  readonly altered?: readonly (readonly [clerkId: string, fingerprint: string])[]
  /** Users that Postgres refused, to be tried once more after the deletions. */
  readonly retry?: readonly DesiredUser[]
  /** What an earlier pass left open: ids of withheld rows, how many of these and of the pending rows are still there. */
  readonly before?: {
    readonly withheld?: readonly string[]
    readonly withheldRows?: number
    readonly pendingRows?: number
  }
  /** Clerk could not be read to the end, or its answer proves too little. */
  readonly isIncomplete?: true
  /** Clerk's endpoints disagree about a user, or an answer about a row did not prove what it should. */
  readonly isUnproven?: true
  /** Something waits only because Clerk's clock settles nothing: the reason. */
  readonly clockDoubt?: string | undefined
  /** Users that Clerk counts and no page showed. */
  readonly shortfall?: number
  /** Users that Clerk counts beyond what the table and everything known about it explain. */
  readonly unexplained?: number
  /** When a full pass is due for a reason without a name, ms from now. */
  readonly settlesInMs?: number
  /** Of a dry run: users that Postgres would refuse. */
  readonly foreseen?: readonly Rejection[]
  /** Of a dry run: rows that are deleted or withheld. */
  readonly lostRows?: readonly string[]
  /** Of a dry run: the hold on deletions that its creates would bring. */
  readonly holdToCome?: string
  /** Fallbacks used, and what is open. */
  readonly notes?: readonly string[]
}

/** Findings as they come. */
export type Findable = AsyncIterable<Finding>
