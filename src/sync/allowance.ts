// Whether a run may delete now, and how many rows: the guard's number for the hour, and the hold that waits for an
// operator. Read before Clerk is asked, and once more in each transaction that deletes, where nobody else deletes.
import type { Executor } from '../db/database.ts'
import { type HoldReason, readHold } from '../db/hold.ts'
import { countRecentDeletions } from '../db/ledger.ts'
import { countRows } from '../db/users.ts'
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
  const hold = approved === undefined ? await holdOf(pass, db) : undefined
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
  if (pass.options.approveDeletes !== undefined) return true
  if ((await holdOf(pass, tx)) !== undefined) return false
  return (await countRecentDeletions(tx, pass.shape)) + rows <= pass.tally.hourlyDeletionsMax
}

/** Returns the hold on deletions, in a dry run also the one that a run would bring about; undefined if there is none. */
export async function holdOf(pass: Pass, executor: Executor): Promise<string | undefined> {
  const coming = pass.holdToCome ?? pass.tally.holdToCome
  return coming ?? (await readHold(executor, pass.shape))
}

/** Counts the rows as withheld, and notes why and what approves their deletion. */
export function withhold(pass: Pass, ids: readonly string[], allowance: Allowance): void {
  const { tally } = pass
  keepBack(tally, ids)
  const { withheld } = tally.counts
  const { allowed, hold } = allowance
  const why = hold === undefined ? `, ${allowed} allowed now` : `: ${reasonOf(hold)}`
  // One note, whose number covers all of them: an approval of fewer would delete none.
  if (tally.withheldNote !== undefined) tally.notes.delete(tally.withheldNote)
  tally.withheldNote = `${withheld} deletions withheld${why}. If they are right: npm run sync -- --approve-deletes ${withheld}`
  tally.notes.add(tally.withheldNote)
}

/** Counts the rows as kept by `upsert-only`. */
export function keepByPolicy(pass: Pass, ids: readonly string[]): void {
  keepBack(pass.tally, ids)
  pass.tally.notes.add(`${ids.length} rows without a user stay: SYNC_POLICY is upsert-only`)
}

function keepBack(tally: Tally, ids: readonly string[]): void {
  tally.counts.withheld += ids.length
  for (const id of ids) tally.kept.withheld.add(id)
}

/**
 * True if a full pass that met its end ends the hold it began with: it has deleted all that it found with an operator's
 * approval, or no row is in doubt. Rows that are only pending may be deleted later, which nobody has approved then.
 */
export function endsHold(tally: Tally, options: PassOptions): boolean {
  if (tally.unproven || tally.counts.withheld > 0) return false
  return tally.kept.pending.size === 0 || (options.approveDeletes !== undefined && tally.counts.deleted > 0)
}
