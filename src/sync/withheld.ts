// Rows without a user that stay: because they wait for an operator, or because the policy keeps them. A dry run shows them,
// and the rows that a run would delete.
import { readRows } from '../db/users.ts'
import { missedSince } from './approval.ts'
import type { DeletionDecision, WithheldBecause } from './deletion-policy.ts'
import type { Finding } from './finding.ts'
import type { PassContext } from './pass.ts'

/** The rows that the decision does not let go stay. A single user's run knows no list: `namesList` is false. */
export async function* keepBack(
  pass: PassContext,
  { withheld, because, kept, distrusted }: DeletionDecision,
  namesList: boolean,
): AsyncGenerator<Finding, void> {
  if (distrusted.length > 0) {
    const note = `${distrusted.length} rows were on no page; too many users that Clerk counts were on none either, so they stay`
    yield { isIncomplete: true, notes: [note] }
  }
  if (kept.length > 0) {
    yield { kept }
    if (pass.dryRun) yield await showLost(pass, 'withhold', kept)
  }
  if (because !== undefined) yield* withhold(pass, withheld, because, namesList)
}

/** The rows wait for an operator. */
export async function* withhold(
  pass: PassContext,
  ids: readonly string[],
  because: WithheldBecause,
  namesList: boolean,
): AsyncGenerator<Finding, void> {
  yield { withheld: { ids, because, namesList } }
  if (pass.dryRun) yield await showLost(pass, 'withhold', ids)
}

/** So many rows are read at a time to be shown. */
const rowsAtOnce = 1000

/** Shows the rows as a dry run's deletions, or as the ones that it would not make. */
export async function showLost(
  pass: PassContext,
  kind: 'delete' | 'withhold',
  ids: readonly string[],
): Promise<Finding> {
  const since = missedSince(pass.known)
  for (let start = 0; start < ids.length; start += rowsAtOnce) {
    const part = ids.slice(start, start + rowsAtOnce)
    const rows = new Map(
      (await readRows(pass.database.db, part, pass.shape)).map((row) => [row.clerkId, row]),
    )
    for (const clerkId of part) {
      pass.onChange({ kind, clerkId, row: rows.get(clerkId), missedSince: since.get(clerkId) })
    }
  }
  return { lostRows: ids }
}
