// Rows without a user that stay: because they wait for an operator, or because the policy keeps them. A dry run shows them,
// and the rows that a run would delete.
import { readRows } from '../db/users.ts'
import { approvalCommand, missedSince } from './approval.ts'
import { type DeletionDecision, keptText, type WithheldBecause, withheldText } from './deletion-policy.ts'
import type { Pass } from './pass.ts'

/** Counts the rows that the decision does not let go, and notes why. `namesList` as for `withhold`. */
export async function keepBack(
  pass: Pass,
  { withheld, because, kept, distrusted }: DeletionDecision,
  namesList = true,
): Promise<void> {
  const { tally } = pass
  if (distrusted.length > 0) {
    tally.complete = false
    tally.notes.add(
      `${distrusted.length} rows were on no page; too many users that Clerk counts were on none either, so they stay`,
    )
  }
  if (kept.length > 0) {
    await count(pass, kept)
    tally.notes.add(keptText(kept.length))
  }
  if (because !== undefined) await withhold(pass, withheld, because, namesList)
}

/**
 * Counts the rows as withheld, and notes why and what approves their deletion. A single user's run knows no list:
 * `namesList` is false.
 */
export async function withhold(
  pass: Pass,
  ids: readonly string[],
  because: WithheldBecause,
  namesList = true,
): Promise<void> {
  const { tally } = pass
  await count(pass, ids)
  // One note, whose number covers all of them: an approval of fewer would delete none.
  if (tally.withheldNote !== undefined) tally.notes.delete(tally.withheldNote)
  const all = [...tally.kept.withheld]
  const command = approvalCommand(all.length, namesList ? all : undefined)
  tally.withheldNote = withheldText(all.length, because, command)
  tally.notes.add(tally.withheldNote)
}

async function count(pass: Pass, ids: readonly string[]): Promise<void> {
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
