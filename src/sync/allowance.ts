// Whether a run may delete now, and how many rows: the guard's number for the hour, and the hold that waits for an
// operator. Read before Clerk is asked, and once more in each transaction that deletes, where nobody else deletes.
import type { Executor } from '../db/database.ts'
import { countRecentDeletions } from '../db/deletion-count.ts'
import { readHold } from '../db/hold.ts'
import { countRows } from '../db/users.ts'
import type { Allowance } from './deletion-policy.ts'
import type { Findings } from './findings.ts'
import { allowedDeletions } from './guard.ts'
import type { PassContext, PassOptions } from './pass.ts'

/** Returns how many rows the run may delete now. `holdToCome` is the hold that a dry run's creates would bring. */
export async function readAllowance(pass: PassContext, holdToCome: string | undefined): Promise<Allowance> {
  const { db } = pass.database
  const { maxDeletes, approveDeletes: approved } = pass.options
  const hold = await openHold(pass, db, holdToCome)
  if (hold !== undefined) return { allowed: 0, hold, hourlyMax: 0 }
  const recent = await countRecentDeletions(db, pass.catalog)
  const allowed = allowedDeletions({ rows: await countRows(db, pass.catalog), recent, maxDeletes, approved })
  return { allowed, hold, hourlyMax: allowed + recent }
}

/**
 * Whether `count` rows may still be deleted. The caller's transaction holds the exclusive deletion lock: what other runs have deleted
 * since, and a user who came back since, is seen here.
 */
export async function isStillAllowed(
  tx: Executor,
  pass: PassContext,
  rows: number,
  hourlyMax: number,
): Promise<boolean> {
  if ((await openHold(pass, tx, undefined)) !== undefined) return false
  if (pass.options.approveDeletes !== undefined) return true
  return (await countRecentDeletions(tx, pass.catalog)) + rows <= hourlyMax
}

/**
 * Returns the hold on deletions that no operator has approved. An approval covers the hold that the run began with, and none
 * that has begun since: the operator could not know of the user who came back.
 */
async function openHold(
  pass: PassContext,
  executor: Executor,
  holdToCome: string | undefined,
): Promise<string | undefined> {
  const hold = await holdOf(pass, executor, holdToCome)
  const isCovered = pass.options.approveDeletes !== undefined && hold === pass.holdAtStart
  return isCovered ? undefined : hold
}

/** Returns the hold on deletions, in a dry run also the one that a run would bring about; undefined if there is none. */
export async function holdOf(
  pass: PassContext,
  executor: Executor,
  holdToCome: string | undefined,
): Promise<string | undefined> {
  return pass.holdToCome ?? holdToCome ?? (await readHold(executor, pass.catalog))
}

/**
 * True if a full pass that met its end ends the hold it began with: it has deleted all that it found with an operator's
 * approval, or at the first look no row is in doubt. Rows that are only pending may be deleted later, which nobody has
 * approved then. After a user came back only an operator can say that Clerk may be believed again, since a Clerk that
 * denies users now and then looks sound in between.
 */
export function endsHold(findings: Findings, options: PassOptions, hold: string | undefined): boolean {
  const { deleted, withheld } = findings.counts()
  if (hold === undefined || findings.isUnproven() || withheld > 0) return false
  const isFirstLook = hold.startsWith('first-look')
  const isNothingPending = findings.openItems().pendingRows.length === 0
  const hasDeleted = deleted > 0
  if (options.approveDeletes === undefined) return isFirstLook && isNothingPending
  // A list speaks of its own rows alone: not of those that are pending, and not of a table in which none of them is left.
  if (options.approvedList !== undefined) return isNothingPending && (isFirstLook || hasDeleted)
  return isNothingPending || hasDeleted
}
