// Whether a run may delete now, and how many rows: the guard's number for the hour, and the hold that waits for an
// operator. Read before Clerk is asked, and once more in each transaction that deletes, where nobody else deletes.
import type { Executor } from '../db/database.ts'
import { readHold } from '../db/hold.ts'
import { countRecentDeletions } from '../db/ledger.ts'
import { countRows } from '../db/users.ts'
import type { Allowance } from './deletion-policy.ts'
import { allowedDeletions } from './guard.ts'
import type { Pass, PassOptions, Tally } from './pass.ts'

/** Returns how many rows the run may delete now, and keeps for its deletions how many all runs may within the hour. */
export async function readAllowance(pass: Pass): Promise<Allowance> {
  const { db } = pass.database
  const { maxDeletes, approveDeletes: approved } = pass.options
  const hold = await openHold(pass, db)
  if (hold !== undefined) return { allowed: 0, hold }
  const recent = await countRecentDeletions(db, pass.shape)
  const allowed = allowedDeletions({ rows: await countRows(db, pass.shape), recent, maxDeletes, approved })
  pass.tally.hourlyDeletionsMax = allowed + recent
  return { allowed, hold }
}

/**
 * Whether so many rows may still be deleted. The caller's transaction holds the fence alone: what other runs have deleted
 * since, and a user who came back since, is seen here.
 */
export async function isStillAllowed(tx: Executor, pass: Pass, rows: number): Promise<boolean> {
  if ((await openHold(pass, tx)) !== undefined) return false
  if (pass.options.approveDeletes !== undefined) return true
  return (await countRecentDeletions(tx, pass.shape)) + rows <= pass.tally.hourlyDeletionsMax
}

/**
 * Returns the hold on deletions that nobody has approved. An approval covers the hold that the run began with, and none
 * that has begun since: the operator could not know of the user who came back.
 */
async function openHold(pass: Pass, executor: Executor): Promise<string | undefined> {
  const hold = await holdOf(pass, executor)
  const isCovered = pass.options.approveDeletes !== undefined && hold === pass.holdAtStart
  return isCovered ? undefined : hold
}

/** Returns the hold on deletions, in a dry run also the one that a run would bring about; undefined if there is none. */
export async function holdOf(pass: Pass, executor: Executor): Promise<string | undefined> {
  const coming = pass.holdToCome ?? pass.tally.holdToCome
  return coming ?? (await readHold(executor, pass.shape))
}

/**
 * True if a full pass that met its end ends the hold it began with: it has deleted all that it found with an operator's
 * approval, or at the first look no row is in doubt. Rows that are only pending may be deleted later, which nobody has
 * approved then. After a user came back only an operator can say that Clerk may be believed again, since a Clerk that
 * denies users now and then looks sound in between.
 */
export function endsHold(tally: Tally, options: PassOptions, hold: string | undefined): boolean {
  if (hold === undefined || tally.unproven || tally.counts.withheld > 0) return false
  const isFirstLook = hold.startsWith('first-look')
  const isNothingPending = tally.kept.pending.size === 0
  const hasDeleted = tally.counts.deleted > 0
  if (options.approveDeletes === undefined) return isFirstLook && isNothingPending
  // A list speaks of its own rows alone: not of those that are pending, and not of a table in which none of them is left.
  if (options.approvedList !== undefined) return isNothingPending && (isFirstLook || hasDeleted)
  return isNothingPending || hasDeleted
}
