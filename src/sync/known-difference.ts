// The difference between Clerk's count of users and the table's count of rows, as far as a full pass can name it. With
// it an incremental pass can tell from two counts that nothing was missed. Pure.
import type { Rejection } from './finding.ts'
import type { Findings } from './findings.ts'
import type { LeftOpen } from './pass.ts'

/** What the last full pass left open, by name, so that it adjusts itself when a row goes or comes. */
export interface KnownDifference extends LeftOpen {
  /** Users that could not be mapped or written, and rows whose deletion was refused. */
  readonly rejected: readonly Rejection[]
  /** Users left for the grace. */
  readonly pendingUsers: readonly string[]
  /** Rows whose deletion was refused. */
  readonly undeletable: readonly string[]
  /** Rows left for the grace: the listing may lag behind their users. */
  readonly pendingRows: readonly string[]
  /** What the database made of whose values; a state of an earlier release has none. */
  readonly altered?: readonly (readonly [clerkId: string, fingerprint: string])[]
  /** The rows of the users that changed last, as the pass left them; a state of an earlier release has none. */
  readonly newest?: readonly NewestRow[]
}

/** A row and its version, ms on Clerk's clock. */
export interface NewestRow {
  readonly clerkId: string
  readonly version: number
}

/** The saved difference; undefined where none is saved, or one of an earlier release: then a full pass is due. */
export function readDifference(saved: unknown): KnownDifference | undefined {
  const lists = ['rejected', 'pendingUsers', 'pendingRows', 'undeletable', 'withheld'] as const
  const difference = (saved ?? {}) as Record<string, unknown>
  return lists.every((list) => Array.isArray(difference[list])) ? (saved as KnownDifference) : undefined
}

/** What an incremental pass and a full pass find out themselves. */
export type NamedDifference = Omit<KnownDifference, 'unexplained' | 'newest'>

/** More names than this are not kept: then the counts disagree, and a full pass looks again. */
export const namesMax = 20_000

/** What the findings leave open, without what they cannot explain. */
export function differenceOf(findings: Findings): NamedDifference {
  const { rejected, pendingUsers, withheld, undeletable, pendingRows, altered } = findings.openItems()
  return {
    rejected: rejected.slice(0, namesMax),
    pendingUsers: pendingUsers.slice(0, namesMax),
    withheld: withheld.slice(0, namesMax),
    undeletable: undeletable.slice(0, namesMax),
    pendingRows: pendingRows.slice(0, namesMax),
    altered: altered.slice(0, namesMax),
  }
}

/**
 * The fingerprints of altered rows that this pass has left as they are, unseen or with something open. Without them the next
 * pass that sees their users would write these rows once more.
 */
export function stillAltered(
  known: ReadonlyMap<string, string>,
  difference: NamedDifference,
): NonNullable<KnownDifference['altered']> {
  const { withheld, undeletable, pendingRows, pendingUsers, rejected, altered = [] } = difference
  const staying = new Set([
    ...withheld,
    ...undeletable,
    ...pendingRows,
    ...pendingUsers,
    ...rejected.map((each) => each.clerkId),
  ])
  for (const [id] of altered) staying.delete(id)
  return [...known].filter(([id]) => staying.has(id)).slice(0, namesMax - altered.length)
}

/** The users that may be without a row. */
export function usersWithoutRowOf(difference: NamedDifference): string[] {
  return [...new Set([...difference.rejected.map((each) => each.clerkId), ...difference.pendingUsers])]
}

/** The rows that are without a user. */
export function rowsWithoutUserOf(difference: NamedDifference): string[] {
  return [...new Set([...difference.withheld, ...difference.undeletable])]
}

/**
 * Users (positive) or rows (negative) that nothing explains. 0 if `rows + usersWithoutRow − rowsWithoutUser`, or up to
 * `pendingRows` fewer, lies between Clerk's two counts.
 */
export function unexplainedDifference(facts: {
  rows: number
  usersWithoutRow: number
  rowsWithoutUser: number
  pendingRows: number
  countBefore: number
  countAfter: number
}): number {
  const most = facts.rows + facts.usersWithoutRow - facts.rowsWithoutUser
  const least = most - facts.pendingRows
  const low = Math.min(facts.countBefore, facts.countAfter)
  const high = Math.max(facts.countBefore, facts.countAfter)
  // At most one of the two is not 0.
  return Math.max(low - most, 0) + Math.min(high - least, 0)
}
