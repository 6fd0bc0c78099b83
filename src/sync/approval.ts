// An operator's approval of deletions: a number that is a ceiling, and the list that was looked at, if the approval names
// it by its digest. The rule: a run that carries a digest deletes no row outside of that list.
import { digestOf } from './approval-command.ts'
import type { ApprovedRows } from './deletion-policy.ts'
import type { Findings } from './findings.ts'
import type { LeftOpen, PassContext } from './pass.ts'

/** Returns the rows that the operator has looked at, as far as the last full pass has kept their names. */
export function readApprovedRows(pass: PassContext): ApprovedRows {
  const { approvedList } = pass.options
  if (approvedList === undefined) return 'all'
  const kept = pass.known?.withheld ?? []
  return digestOf(kept) === approvedList ? new Set(kept) : 'unknown'
}

/** The same once Clerk has been asked for all: a dry run shows a list and keeps none, so that it is held against this one. */
export function settleApprovedRows(
  pass: PassContext,
  approved: ApprovedRows,
  ids: readonly string[],
): ApprovedRows {
  return approved === 'unknown' && digestOf(ids) === pass.options.approvedList ? new Set(ids) : approved
}

/** The note about how many of the approved rows were deleted, and what became of the others, if the numbers differ. */
export function approvalNotes(approved: number | undefined, findings: Findings): string[] {
  const { deleted, withheld } = findings.counts()
  if (approved === undefined || approved === deleted) return []
  const { pendingRows, undeletable } = findings.openItems()
  const others = [
    [pendingRows.length, 'pending'],
    [undeletable.length, 'refused by the database'],
    [withheld, 'withheld'],
  ] as const
  const named = others.filter(([count]) => count > 0).map(([count, what]) => `, ${number(count)} ${what}`)
  const rest = approved - deleted - others.reduce((sum, [count]) => sum + count, 0)
  const absent = rest > 0 ? `; of ${number(rest)} fewer than approved Clerk says that they are gone` : ''
  return [`${number(approved)} deletions approved: ${number(deleted)} deleted${named.join('')}${absent}`]
}

/** Since when each withheld row has been missed, ms on Postgres's clock. */
export function missedSince(known: LeftOpen | undefined): Map<string, number> {
  const groups = known?.withheldSince ?? []
  return new Map(groups.flatMap(({ since, ids }) => ids.map((id) => [id, since] as const)))
}

/** The same for the rows that are withheld now: `now` for those that were not withheld before. */
export function groupBySince(
  ids: readonly string[],
  known: LeftOpen | undefined,
  now: number,
): NonNullable<LeftOpen['withheldSince']> {
  const before = missedSince(known)
  const groups = new Map<number, string[]>()
  for (const id of ids) {
    const since = before.get(id) ?? now
    const members = groups.get(since)
    if (members === undefined) groups.set(since, [id])
    else members.push(id)
  }
  return [...groups].map(([since, members]) => ({ since, ids: members }))
}

const number = (count: number) => count.toLocaleString('en')
