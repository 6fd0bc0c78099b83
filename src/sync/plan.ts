// The plan: Clerk's users compared with the table's rows. Pure: no clock, no IO, no log; everything that it knows about
// time is handed in, and its output is sorted by id. The SQL repeats its guards.
//
//   Clerk has | the table has                            | plan
//   ----------|------------------------------------------|------------------------------------------------------
//   the user  | no row and no tombstone                  | create
//   the user  | no row, a tombstone within the grace     | pending: the page may be older than the deletion
//   the user  | no row, an older tombstone               | create
//   the user  | a row that is not newer, other values    | update
//   the user  | a row that is not newer, other times     | refresh
//   the user  | a row that is not newer, equal           | unchanged
//   the user  | a newer row, within the grace            | pending: a webhook was faster than the listing
//   the user  | a newer row, settled                     | verify: Clerk is asked for that user by id
//   no user   | a row                                    | a candidate for deletion, which candidates.ts confirms
//
// A row is newer if its version, Clerk's `updated_at`, is. A row without a version (adopted) is older than any.
import { type CurrentRow, type DesiredUser, syncedKeys } from '../db/schema.ts'
import type { Write } from '../db/users.ts'

/** Clerk's clock as a pass knows it, ms. Undefined where no answer had a `Date`: then nothing counts as settled. */
export interface PassClock {
  /** The `Date` of the pass's first answer. */
  readonly startedAt: number | undefined
  /** The `Date` of its newest answer. */
  readonly latest: number | undefined
  /** How long a listing may lag behind the writes. */
  readonly graceMs: number
}

/** One change to the table, with what it replaces. */
export interface Change {
  readonly write: Write
  readonly row: CurrentRow | undefined
}

export interface Plan {
  readonly creates: readonly Change[]
  /** Mapped values differ. */
  readonly updates: readonly Change[]
  /** Only Clerk's times differ. */
  readonly refreshes: readonly Change[]
  readonly unchanged: readonly string[]
  /** Left for the grace: the listing may be older news than the table. */
  readonly pending: readonly string[]
  /** The row holds a version that Clerk's listing does not explain: Clerk is asked for that very user. */
  readonly unverified: readonly CurrentRow[]
}

/** The changes of a plan, or a part of them. */
export type Batch = Pick<Plan, 'creates' | 'updates' | 'refreshes'>

/**
 * True once a listing can no longer be older news than the row: its version is older than the grace, or so far in the
 * future that no change in Clerk can have made it. A row without a version settles by its age.
 */
export function isSettled(row: CurrentRow, clock: PassClock): boolean {
  // Without Clerk's clock an absence looks like a lag, and nothing may be deleted.
  if (clock.startedAt === undefined || clock.latest === undefined) return false
  if (row.clerkUpdatedAt === null) return row.isDayOld
  return (
    row.clerkUpdatedAt <= clock.startedAt - clock.graceMs || row.clerkUpdatedAt > clock.latest + clock.graceMs
  )
}

/** Compares the users of one page with their rows. */
export function planPage(
  desired: readonly DesiredUser[],
  current: readonly CurrentRow[],
  tombstones: ReadonlyMap<string, 'blocking' | 'expired'>,
  clock: PassClock,
): Plan {
  const rows = new Map(current.map((row) => [row.clerkId, row]))
  const plan = emptyPlan()
  for (const user of sorted(desired)) {
    const row = rows.get(user.clerkId)
    if (row === undefined) {
      // The page may have been read before the deletion that left the tombstone.
      if (tombstones.get(user.clerkId) === 'blocking') plan.pending.push(user.clerkId)
      else plan.creates.push({ write: user, row: undefined })
    } else if (row.clerkUpdatedAt === null || row.clerkUpdatedAt <= user.clerkUpdatedAt) {
      compare(plan, user, row)
    } else if (isSettled(row, clock)) {
      plan.unverified.push(row)
    } else {
      // A webhook got here first.
      plan.pending.push(user.clerkId)
    }
  }
  return plan
}

/**
 * Compares unverified rows with what Clerk answered for those very users. That answer is written, also over a newer
 * version, but only if the row still has the version it was judged by. Users without an answer stay pending.
 */
export function planVerified(answers: readonly DesiredUser[], unverified: readonly CurrentRow[]): Plan {
  const users = new Map(answers.map((user) => [user.clerkId, user]))
  const plan = emptyPlan()
  for (const row of sorted(unverified)) {
    const user = users.get(row.clerkId)
    if (user === undefined || row.clerkUpdatedAt === null) plan.pending.push(row.clerkId)
    else compare(plan, { ...user, replaces: row.clerkUpdatedAt }, row)
  }
  return plan
}

/** The synced columns in which the row differs from what Clerk wants. */
export function changedKeys(write: Write, row: CurrentRow | undefined): (keyof DesiredUser['values'])[] {
  return syncedKeys.filter((key) => row === undefined || row.values[key] !== write.values[key])
}

type MutablePlan = { -readonly [K in keyof Plan]: Plan[K] extends readonly (infer E)[] ? E[] : never }

function emptyPlan(): MutablePlan {
  return { creates: [], updates: [], refreshes: [], unchanged: [], pending: [], unverified: [] }
}

function compare(plan: MutablePlan, write: Write, row: CurrentRow): void {
  if (changedKeys(write, row).length > 0) plan.updates.push({ write, row })
  else if (row.clerkCreatedAt !== write.clerkCreatedAt || row.clerkUpdatedAt !== write.clerkUpdatedAt) {
    plan.refreshes.push({ write, row })
  } else plan.unchanged.push(row.clerkId)
}

function sorted<T extends { clerkId: string }>(list: readonly T[]): T[] {
  // No id is there twice.
  return [...list].sort((a, b) => (a.clerkId < b.clerkId ? -1 : 1))
}
