// What one pass may use: its parts, its options, Clerk's clock as far as it has been heard, and what the passes before have
// left. What it finds is no part of it (findings.ts).
import type { ClerkClient } from '../clerk/api.ts'
import type { TableCatalog } from '../db/catalog.ts'
import type { Database } from '../db/database.ts'
import type { CurrentRow } from '../db/schema.ts'
import type { Log } from '../log.ts'
import type { ClerkClock } from './clock.ts'
import type { Allowance, Policy } from './deletion-policy.ts'
import type { FailureHandler } from './failed-write.ts'
import type { FailureCounter } from './failure-counter.ts'
import type { Findable } from './finding.ts'
import type { Batch, Change } from './plan.ts'

/** A change as a dry run shows it: `delete` has no desired user, `create` no row, and `withhold` is a deletion that is not made. */
export type ShownChange =
  | { readonly kind: 'create' | 'update' | 'refresh'; readonly change: Change }
  | ({ readonly kind: 'delete' | 'withhold' } & LostRow)

/** A row without a user in Clerk. */
export interface LostRow {
  readonly clerkId: string
  /** The row; undefined where it went meanwhile. */
  readonly row: CurrentRow | undefined
  /** Since when passes have missed the user (Postgres's clock, ms); undefined if this is the first one. */
  readonly missedSince: number | undefined
}

/** What the last full pass left open, as far as another pass needs it by name. */
export interface LeftOpen {
  /** Rows that the guard or the policy keeps. */
  readonly withheld: readonly string[]
  /** Since when passes have missed their users, by moment (Postgres's clock, ms): most have it in common. */
  readonly withheldSince?: readonly { readonly since: number; readonly ids: readonly string[] }[]
  /** Users that Clerk counts beyond all that is named (or, below zero, rows). */
  readonly unexplained: number
}

/** What a run is at, for a person who waits. */
export type Phase =
  | 'instance'
  | 'migrating'
  | 'reading'
  | 'counting'
  | 'confirming'
  | 'deleting'
  | 'settling'
  | 'recording'

/** `left` is how many rows the phase has still before it, where that is known. */
export type OnPhase = (phase: Phase, left?: number) => void

export interface PassOptions {
  readonly policy: Policy
  readonly graceMs: number
  readonly maxDeletes: number | undefined
  /** The operator's ceiling for this one run. */
  readonly approveDeletes: number | undefined
  /** The digest of the list that the operator has looked at: no row outside of it is deleted. Undefined: any row may be. */
  readonly approvedList?: string | undefined
  /** 500, the most that Clerk gives. */
  readonly pageSize: number
  /** How long a count may lag before it is believed, ms. */
  readonly recountDelayMs: number
}

/** How a pass changes the table. A dry run's has the same face, shows what it would do, and writes nothing. */
export interface Writer {
  /** Makes the changes of a plan. */
  write(pass: PassContext, plan: Batch, onFailure: FailureHandler): Findable
  /** Deletes rows whose users Clerk denies. */
  deleteRows(pass: PassContext, rows: readonly CurrentRow[], allowance: Allowance): Findable
  /** Leaves rows whose deletion is withheld, or which the policy keeps. */
  leaveRows(pass: PassContext, clerkIds: readonly string[]): Findable
  /** Records the first sight of rows of unknown age. Returns how many there are. */
  noteAges(pass: PassContext, clerkIds: readonly string[]): Promise<number>
  /** How many absent rows are confirmed even if the guard allows fewer deletions. */
  readonly absentMin: number
  /** False if what it finds to be changed is not in the table. */
  readonly changesTable: boolean
}

export interface PassContext {
  /** The run's, with every answer heard by `clock`. */
  readonly clerk: ClerkClient
  readonly database: Database
  readonly catalog: TableCatalog
  readonly options: PassOptions
  /** How it changes the table, or, in a dry run, shows what it would change. */
  readonly writer: Writer
  /** The run that writes; null in a dry run. A single user's has its line too, without the lease. */
  readonly runId: number | null
  /** The run's start (Postgres's clock, ms). */
  readonly startedAt: number
  /** Tombstones left after this moment block (Postgres's clock, ms): the run's start less the grace. */
  readonly tombstonesBlockSince: number
  /** What the last full pass left open; undefined if none has. */
  readonly known: LeftOpen | undefined
  /** Of a dry run: the hold on deletions that binding the table would bring, undefined if none. */
  readonly holdToCome: string | undefined
  /** The hold on deletions that the run began with, undefined if none: the one that an approval covers. */
  readonly holdAtStart: string | undefined
  /** Fingerprints of what the database made of users' values, by id, as earlier passes saw it. */
  readonly altered: ReadonlyMap<string, string>
  readonly signal: AbortSignal
  readonly log: Log
  /** Who was refused for which reason, over the whole pass. */
  readonly failures: FailureCounter
  readonly clock: ClerkClock
  /** Called with the users seen so far and Clerk's count. */
  readonly onProgress: (seen: number, total: number) => void
  /** Called when a phase begins. */
  readonly onPhase: OnPhase
  /** Called with each change that a dry run would make. */
  readonly onChange: (change: ShownChange) => void
}
