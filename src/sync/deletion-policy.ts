// Which rows without a user may be deleted, which wait for an operator, and which stay. Every pass and `--user` decide
// here. Pure: facts in, a decision out, and the sentences that an operator reads about it.
//
//   first that holds                                   | decision
//   ---------------------------------------------------|-----------------------------------------
//   too many users that Clerk counts were on no page   | all are distrusted: they stay
//   SYNC_POLICY is upsert-only                         | all are kept
//   the approval names a list that no run has left     | all are withheld
//   a row was not asked about, or more rows on the     | all are withheld: by the hold if there is one,
//     approved list than the run may delete            |   else by the guard
//   a row is not on the approved list                  | that row is withheld, the others are allowed
//   else                                               | all are allowed
import type { HoldReason } from '../db/hold.ts'
import { isShortfallGrave } from './guard.ts'

export type Policy = 'sync' | 'upsert-only'

/** Which rows an approval is about. `unknown`: it names a list that no run has left, so that none is approved yet. */
export type ApprovedRows = 'all' | 'unknown' | ReadonlySet<string>

/** How many rows may be deleted. */
export interface Allowance {
  /** By the run. */
  readonly allowed: number
  /** By all runs within the hour. */
  readonly hourlyMax: number
  /** Why deletions wait for an operator, as the state keeps it; undefined if they do not, or if one has approved. */
  readonly hold: string | undefined
}

/** Why rows wait for an operator. */
export type WithheldBecause =
  | { readonly kind: 'guard'; readonly allowed: number }
  | { readonly kind: 'hold'; readonly hold: string }
  /** The approval is about a list that these rows are not. */
  | { readonly kind: 'another list' }
  /** The approval is about a list without these rows. */
  | { readonly kind: 'not on the list' }

export interface DeletionFacts {
  readonly policy: Policy
  /** Rows whose users Clerk denies. */
  readonly absent: readonly string[]
  /** Rows that Clerk was not asked about, since the run may not delete them anyway, or no answer could prove itself. */
  readonly unasked: readonly string[]
  readonly allowance: Pick<Allowance, 'allowed' | 'hold'>
  readonly approved: ApprovedRows
  /** How many users that Clerk counts no page showed, how many were seen, and how many Clerk counts. */
  readonly reading: { readonly shortfall: number; readonly seen: number; readonly count: number }
}

export interface DeletionDecision {
  /** Absent rows that may be deleted. */
  readonly allowed: readonly string[]
  /** Rows that wait for an operator. */
  readonly withheld: readonly string[]
  /** Undefined if none is withheld. */
  readonly because: WithheldBecause | undefined
  /** Rows that the policy keeps. */
  readonly kept: readonly string[]
  /** Rows that stay because the pass has not read enough of Clerk. */
  readonly distrusted: readonly string[]
}

/** Returns what becomes of each row. */
export function decideDeletions(facts: DeletionFacts): DeletionDecision {
  const { absent, unasked, allowance, approved, reading } = facts
  const all = [...absent, ...unasked]
  const none = { allowed: [], withheld: [], because: undefined, kept: [], distrusted: [] }
  if (all.length === 0) return none
  if (isShortfallGrave(reading.shortfall, reading.seen, reading.count)) return { ...none, distrusted: all }
  if (!deletesRows(facts.policy)) return { ...none, kept: all }
  if (approved === 'unknown') return { ...none, withheld: all, because: { kind: 'another list' } }
  const listed = absent.filter((id) => isApproved(approved, id))
  if (unasked.length > 0 || listed.length > allowance.allowed) {
    return { ...none, withheld: all, because: becauseOf(allowance) }
  }
  const unlisted = absent.filter((id) => !isApproved(approved, id))
  if (unlisted.length === 0) return { ...none, allowed: listed }
  return { ...none, allowed: listed, withheld: unlisted, because: { kind: 'not on the list' } }
}

/** True if rows without a user are deleted at all. */
export function deletesRows(policy: Policy): boolean {
  return policy === 'sync'
}

/** True if the row is on the list. */
export function isApproved(approved: ApprovedRows, clerkId: string): boolean {
  return approved === 'all' || (approved !== 'unknown' && approved.has(clerkId))
}

/** Why a run that is not allowed more has to withhold rows. */
export function becauseOf({ allowed, hold }: Pick<Allowance, 'allowed' | 'hold'>): WithheldBecause {
  return hold === undefined ? { kind: 'guard', allowed } : { kind: 'hold', hold }
}

/** The note about withheld rows, with the command that approves their deletion. */
export function withheldText(count: number, because: WithheldBecause, command: string): string {
  return `${count} deletions withheld${reasonText(because)}. If they are right: ${command}`
}

/** The note about rows that the policy keeps. */
export function keptText(count: number): string {
  return `${count} rows without a user stay: SYNC_POLICY is upsert-only`
}

/** The note about rows that an earlier pass has withheld. */
export function stillWithheldText(count: number, hold: string | undefined, command: string): string {
  const reason = hold === undefined ? '' : reasonText({ kind: 'hold', hold })
  return `${count} deletions stay withheld${reason}. If they are right: ${command}`
}

function reasonText(because: WithheldBecause): string {
  switch (because.kind) {
    case 'guard':
      return `, ${because.allowed} allowed now`
    case 'hold':
      return `: ${reasonOf(because.hold)}`
    case 'another list':
      return ': the list that was approved is not the list of these rows'
    case 'not on the list':
      return ': they are not on the list that was approved'
  }
}

const holdReasons: Record<HoldReason, string> = {
  'first-look': 'this is the first look at a table that already had rows',
  returned: 'a user came back whose row a run had deleted',
}

/** The hold in words. */
export function reasonOf(hold: string): string {
  const known = Object.entries(holdReasons).find(([reason]) => hold.startsWith(reason))
  return known === undefined ? hold : known[1]
}
