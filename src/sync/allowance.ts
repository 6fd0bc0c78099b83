// Whether a run may delete now, and how many rows: the guard's number for the hour, and the hold that waits for an
// operator. Read before Clerk is asked, and once more in each transaction that deletes, where nobody else deletes.
import type { Executor } from '../db/database.ts'
import { type HoldReason, readHold } from '../db/hold.ts'
import { countRecentDeletions } from '../db/ledger.ts'
import { countRows, readRows } from '../db/users.ts'
import { approvalCommand, missedSince } from './approval.ts'
import { allowedDeletions } from './guard.ts'
import type { Pass, PassOptions, Tally } from './pass.ts'

export interface Allowance {
  /** Rows that the run may delete. */
  readonly allowed: number
  /** Why deletions wait for an operator, as the state keeps it; undefined if they do not, or if one has approved. */
  readonly hold: string | undefined
}

const reasons: Record<HoldReason, string> = {
  'first-look': 'this is the first look at a table that already had rows',
  returned: 'a user came back whose row a run had deleted',
}

/** The hold in words. */
export function reasonOf(hold: string): string {
  const [reason = ''] = hold.split(' ')
  return reason in reasons ? reasons[reason as HoldReason] : hold
}

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
 * Counts the rows as withheld, and notes why and what approves their deletion. `why` is said in place of the guard's
 * number or the hold. A single user's run knows no list: `namesList` is false.
 */
export async function withhold(
  pass: Pass,
  ids: readonly string[],
  allowance: Allowance,
  { why, namesList = true }: { why?: string; namesList?: boolean } = {},
): Promise<void> {
  const { tally } = pass
  await keepBack(pass, ids)
  const { allowed, hold } = allowance
  const words = why ?? (hold === undefined ? undefined : reasonOf(hold))
  const reason = words === undefined ? `, ${allowed} allowed now` : `: ${words}`
  // One note, whose number covers all of them: an approval of fewer would delete none.
  if (tally.withheldNote !== undefined) tally.notes.delete(tally.withheldNote)
  const all = [...tally.kept.withheld]
  tally.withheldNote = `${all.length} deletions withheld${reason}. If they are right: ${approvalCommand(all.length, namesList ? all : undefined)}`
  tally.notes.add(tally.withheldNote)
}

/** Counts the rows as kept by `upsert-only`. */
export async function keepByPolicy(pass: Pass, ids: readonly string[]): Promise<void> {
  await keepBack(pass, ids)
  pass.tally.notes.add(`${ids.length} rows without a user stay: SYNC_POLICY is upsert-only`)
}

async function keepBack(pass: Pass, ids: readonly string[]): Promise<void> {
  const { tally } = pass
  tally.counts.withheld += ids.length
  for (const id of ids) tally.kept.withheld.add(id)
  if (pass.dryRun) await showLost(pass, 'withhold', ids)
}

/** What hangs on more rows than this is not counted. */
const lostRowsMax = 20_000
/** So many rows are read at a time to be shown. */
const rowsAtOnce = 1000

/** Shows the rows as a dry run's deletions, or as the ones that it would not make. */
export async function showLost(
  pass: Pass,
  kind: 'delete' | 'withhold',
  ids: readonly string[],
): Promise<void> {
  const since = missedSince(pass.known)
  const { lostRows } = pass.tally
  lostRows.push(...ids.slice(0, Math.max(0, lostRowsMax - lostRows.length)))
  for (let start = 0; start < ids.length; start += rowsAtOnce) {
    const part = ids.slice(start, start + rowsAtOnce)
    const rows = new Map(
      (await readRows(pass.database.db, part, pass.shape)).map((row) => [row.clerkId, row]),
    )
    for (const clerkId of part) {
      pass.onChange({ kind, clerkId, row: rows.get(clerkId), missedSince: since.get(clerkId) })
    }
  }
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
