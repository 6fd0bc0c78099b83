// What one pass carries along: its parts, its options, Clerk's clock as far as it has been heard, and the tally of what
// happened. The tally only ever counts what Postgres returned (in a dry run, what the plan says).
import type { ClerkClient } from '../clerk/api.ts'
import type { Database } from '../db/database.ts'
import type { CurrentRow, DesiredUser } from '../db/schema.ts'
import type { Shape } from '../db/shape.ts'
import type { Log } from '../log.ts'
import type { ClerkClock } from './clock.ts'
import type { Policy } from './deletion-policy.ts'
import type { Change } from './plan.ts'

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
export interface Known {
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
  /** Up to so many denied users are also asked for alone, one by one; of more, so many at random. */
  readonly askedAloneMax: number
  /** 500, the most that Clerk gives. */
  readonly pageSize: number
  /** How long a count may lag before it is believed, ms. */
  readonly recountDelayMs: number
}

export interface Pass {
  /** The run's, with every answer heard by `clock`. */
  readonly clerk: ClerkClient
  readonly database: Database
  readonly shape: Shape
  readonly options: PassOptions
  /** True if nothing may be written. */
  readonly dryRun: boolean
  /** The run that writes; null in a dry run. A single user's has its line too, without the lease. */
  readonly runId: number | null
  /** The run's start (Postgres's clock, ms). */
  readonly startedAt: number
  /** Tombstones left after this moment block (Postgres's clock, ms): the run's start less the grace. */
  readonly youngSince: number
  /** What the last full pass left open; undefined if none has. */
  readonly known: Known | undefined
  /** Of a dry run: the hold on deletions that binding the table would bring, undefined if none. */
  readonly holdToCome: string | undefined
  /** The hold on deletions that the run began with, undefined if none: the one that an approval covers. */
  readonly holdAtStart: string | undefined
  /** What the database made of whose values, as the passes before have met it. */
  readonly altered: ReadonlyMap<string, string>
  readonly signal: AbortSignal
  readonly log: Log
  readonly tally: Tally
  readonly clock: ClerkClock
  /** Told the users seen so far, and how many Clerk counts. */
  readonly onProgress: (seen: number, total: number) => void
  /** Told what comes next. */
  readonly onPhase: OnPhase
  /** Told each change that a dry run would make. */
  readonly onChange: (change: ShownChange) => void
}

/** Notes that a row or a user waits only because Clerk's clock settles nothing: the run is then finished in part. */
export function noteClockMissing(pass: Pass): void {
  if (pass.clock.doubt === undefined) return
  pass.tally.awaitsClock = true
  pass.tally.notes.add(pass.clock.doubt)
}

/** Notes that something pending will have settled in so many milliseconds. */
export function settlesIn(pass: Pass, milliseconds: number): void {
  pass.tally.settlesInMs = Math.max(pass.tally.settlesInMs, milliseconds)
}

/** What happened so far. */
export class Tally {
  readonly counts: Omit<Counts, 'rejected'> = {
    seen: 0,
    created: 0,
    updated: 0,
    refreshed: 0,
    unchanged: 0,
    deleted: 0,
    pending: 0,
    withheld: 0,
  }
  /** Reasons by Clerk id. */
  readonly rejected = new Map<string, string>()
  /** Users whose row the database changed on the way in, and what it made of it. */
  readonly altered = new Map<string, string>()
  /** Users whose very id could not be read. */
  unreadable = 0
  /** False once the walk did not meet its end, or met a user without a readable id. */
  complete = true
  /** True once an answer about the candidates did not prove what it should. */
  unproven = false
  /** True once something waited that only Clerk's clock could have settled, and there was none to trust. */
  awaitsClock = false
  /** Users that Clerk counts and no page showed. */
  shortfall = 0
  /** Users that Clerk counts beyond what the table and everything known about it explain. */
  unexplained = 0
  /** Users left for the grace: some have no row. */
  readonly pendingUsers = new Set<string>()
  /** Rows that stay though Clerk may not have their users: by guard or policy, or for another reason. */
  readonly kept = {
    withheld: new Set<string>(),
    refused: new Set<string>(),
    /** Left for the grace: their users may live. */
    pending: new Set<string>(),
  }
  /** How many rows all runs may delete within the hour, as the guard said it before Clerk was asked; until then none. */
  hourlyDeletionsMax = 0
  /** The note about deletions that guard or hold kept back; undefined until there are any. */
  withheldNote: string | undefined
  /** Of a dry run: the hold on deletions that its creates would bring, undefined if none. */
  holdToCome: string | undefined
  /** When the youngest of what is pending will have settled, in ms from when it was seen; 0 if nothing is. */
  settlesInMs = 0
  /** Of a dry run: how many users Postgres would refuse, by the reason. */
  readonly foreseen = new Map<string, number>()
  /** Of a dry run: the first 20,000 rows that are deleted or withheld. */
  readonly lostRows: string[] = []
  /** Fallbacks used, and what is open. */
  readonly notes = new Set<string>()
  /** Users that Postgres refused, to be tried once more after the deletions; without values where they are very many. */
  readonly waiting = new Map<string, DesiredUser | undefined>()
  /** How many users each unique constraint has refused with their pages. */
  readonly uniqueRefusals = new Map<string, number>()
  /** Who was refused in a way that counts, by constraint. */
  readonly refusals = new Map<string, Set<string>>()

  /** All counts, rejections included. */
  total(): Counts {
    return { ...this.counts, rejected: this.rejected.size + this.unreadable }
  }

  /** Notes, with how many users were on no page and what stays unexplained. */
  allNotes(): string[] {
    const notes = [...this.notes]
    if (this.missing() > 0) notes.push(`${this.missing()} users that Clerk counts were on no page`)
    if (this.unexplained > 0) notes.push(`${this.unexplained} users that Clerk counts are not in the table`)
    return notes
  }

  /** Users that Clerk counts, no page showed, and no row left for the grace can stand for. */
  missing(): number {
    return Math.max(0, this.shortfall - this.kept.pending.size)
  }

  /** A new tally for the full pass that follows: it counts anew, but for what has been written. */
  afterStepUp(note: string, dryRun: boolean): Tally {
    const next = new Tally()
    const { created, updated, refreshed } = this.counts
    if (!dryRun) Object.assign(next.counts, { created, updated, refreshed })
    next.notes.add(note)
    return next
  }

  /** The rejected by name, the unreadable last. */
  rejections(): Rejection[] {
    const named = [...this.rejected].map(([clerkId, reason]) => ({ clerkId, reason }))
    if (this.unreadable === 0) return named
    return [...named, { clerkId: '(unreadable)', reason: `${this.unreadable} users without a readable id` }]
  }
}
