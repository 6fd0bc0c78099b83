// The writer of a dry run: it shows the changes that a run would make, and writes nothing.
import { noteFirstSeen } from '../db/first-seen.ts'
import { wereDeletedByRuns } from '../db/tombstones.ts'
import { readRows } from '../db/users.ts'
import { missedSince } from './approval.ts'
import type { Finding } from './finding.ts'
import { withoutRefused } from './forecast.ts'
import type { PassContext, Writer } from './pass.ts'
import type { Batch, Change } from './plan.ts'

export const preview: Writer = {
  async *write(pass, plan) {
    yield await showPlan(pass, plan)
  },
  async *deleteRows(pass, rows) {
    const deleted = rows.map((row) => row.clerkId)
    yield { deleted }
    yield await showLost(pass, 'delete', deleted)
  },
  async *leaveRows(pass, clerkIds) {
    yield await showLost(pass, 'withhold', clerkIds)
  },
  noteAges(pass, clerkIds) {
    return noteFirstSeen(pass.database.db, clerkIds, pass.catalog, true)
  },
  // It is there to show which rows are gone.
  absentMin: 10_000,
  changesTable: false,
}

async function showPlan(pass: PassContext, plan: Batch): Promise<Finding> {
  const creates = withoutRefused(pass.catalog, plan.creates)
  const updates = withoutRefused(pass.catalog, plan.updates)
  const idsOf = (changes: readonly Change[]) => changes.map((change) => change.write.clerkId)
  const created = idsOf(creates.taken)
  const isReturn = await wereDeletedByRuns(pass.database.db, created, pass.tombstonesBlockSince, pass.catalog)
  for (const change of creates.taken) pass.onChange({ kind: 'create', change })
  for (const change of updates.taken) pass.onChange({ kind: 'update', change })
  for (const change of plan.refreshes) pass.onChange({ kind: 'refresh', change })
  return {
    created,
    updated: idsOf(updates.taken),
    refreshed: idsOf(plan.refreshes),
    foreseen: [...creates.refused, ...updates.refused],
    ...(isReturn ? { holdToCome: 'returned' } : {}),
  }
}

/** How many rows are read in one query to be shown. */
const rowsAtOnce = 1000

/** Shows the rows as a dry run's deletions, or as the ones that it would not make. */
async function showLost(
  pass: PassContext,
  kind: 'delete' | 'withhold',
  ids: readonly string[],
): Promise<Finding> {
  const since = missedSince(pass.known)
  for (let start = 0; start < ids.length; start += rowsAtOnce) {
    const part = ids.slice(start, start + rowsAtOnce)
    const rows = new Map(
      (await readRows(pass.database.db, part, pass.catalog)).map((row) => [row.clerkId, row]),
    )
    for (const clerkId of part) {
      pass.onChange({ kind, clerkId, row: rows.get(clerkId), missedSince: since.get(clerkId) })
    }
  }
  return { lostRows: ids }
}
