// The SQL's side of deletions: rows that may go are deleted in small transactions, each of which looks once more whether it
// still may. One row that Postgres does not let go holds up no other.
import { PostgresRefusal } from '../db/database.ts'
import { statementMsFor } from '../db/patience.ts'
import type { CurrentRow } from '../db/schema.ts'
import { deleteUsers } from '../db/tombstones.ts'
import { readRows } from '../db/users.ts'
import { isStillAllowed, readAllowance } from './allowance.ts'
import { becauseOf } from './deletion-policy.ts'
import { writeFenced } from './fenced.ts'
import type { Pass } from './pass.ts'
import { leaveForGrace } from './pending.ts'
import { rejectDeletion, rejectUntried } from './refusals.ts'
import { showLost, withhold } from './withheld.ts'
import { lockTries } from './writer.ts'

/** An app's cascade may be slow; a transaction stays short. */
const deletionsPerTransaction = 20
/** After so many deletions in a row that each took as long as one may, the others are left for the next run. */
const slowInARowMax = 5

/** Deletes rows whose users Clerk denies, and leaves tombstones; a dry run shows them. */
export async function deleteRows(pass: Pass, rows: readonly CurrentRow[]): Promise<void> {
  if (pass.dryRun) {
    pass.tally.counts.deleted += rows.length
    await showLost(
      pass,
      'delete',
      rows.map((row) => row.clerkId),
    )
    return
  }
  const ordered = startingAt(rows, pass.runId ?? 0)
  let slow = 0
  for (let start = 0; start < rows.length; start += deletionsPerTransaction) {
    pass.signal.throwIfAborted()
    pass.onPhase('deleting', rows.length - start)
    slow = await deleteBatch(pass, ordered.slice(start, start + deletionsPerTransaction), slow)
  }
}

/** The rows in their order, from another one in each run: rows that take too long must not be first in every run. */
function startingAt<T>(rows: readonly T[], place: number): T[] {
  const start = place % Math.max(rows.length, 1)
  return [...rows.slice(start), ...rows.slice(0, start)]
}

/**
 * Deletes rows whose users Clerk denies, unless they have changed since. What Postgres refuses is rejected by name.
 * `slow` is how many deletions in a row took too long before, and the result how many have by now.
 */
async function deleteBatch(pass: Pass, rows: readonly CurrentRow[], slow: number): Promise<number> {
  if (rows.length > 1 && slow < slowInARowMax) {
    try {
      await deleteTogether(pass, rows)
      return 0
    } catch (error) {
      if (!(error instanceof PostgresRefusal)) throw error
    }
  }
  // What the app's schema refuses for one row holds up no other.
  let slowNow = slow
  for (const row of rows) {
    if (slowNow >= slowInARowMax) {
      rejectUntried(pass, row.clerkId)
      continue
    }
    const refusal = await deleteAlone(pass, row)
    slowNow = refusal?.kind === 'timeout' ? slowNow + 1 : 0
  }
  return slowNow
}

/** Returns what Postgres refused it by, undefined where it did not. */
async function deleteAlone(pass: Pass, row: CurrentRow): Promise<PostgresRefusal | undefined> {
  pass.signal.throwIfAborted()
  for (let tryNumber = 1; ; tryNumber++) {
    try {
      await deleteTogether(pass, [row])
      return undefined
    } catch (error) {
      if (!(error instanceof PostgresRefusal)) throw error
      if (error.kind === 'lock' && tryNumber < lockTries) continue
      rejectDeletion(pass, row.clerkId, error)
      return error
    }
  }
}

/** Deletes the rows in one transaction, if they may still be deleted then. Throws what Postgres refuses it by. */
async function deleteTogether(pass: Pass, rows: readonly CurrentRow[]): Promise<void> {
  const milliseconds = statementMsFor(pass.database.deleteMsMax)
  const deleted = await writeFenced(pass, 'exclusive', async (tx) =>
    (await isStillAllowed(tx, pass, rows.length))
      ? deleteUsers(tx, rows, pass.runId, milliseconds)
      : undefined,
  )
  if (deleted === undefined) {
    // Since Clerk was asked, another run has deleted, or a user has come back.
    const ids = rows.map((row) => row.clerkId)
    return withhold(pass, ids, becauseOf({ ...(await readAllowance(pass)), allowed: 0 }))
  }
  pass.tally.counts.deleted += deleted.length
  await noteKept(pass, rows, new Set(deleted))
}

/** A row that is still there, with the same version, was kept by the app (a trigger, a rule): that must not be silent. */
async function noteKept(
  pass: Pass,
  rows: readonly CurrentRow[],
  deleted: ReadonlySet<string>,
): Promise<void> {
  const left = rows.filter((row) => !deleted.has(row.clerkId))
  if (left.length === 0) return
  const versions = new Map(left.map((row) => [row.clerkId, row.clerkUpdatedAt]))
  const found = await readRows(pass.database.db, [...versions.keys()], pass.shape)
  for (const row of found) {
    if (row.clerkUpdatedAt === versions.get(row.clerkId)) {
      pass.tally.kept.refused.add(row.clerkId)
      pass.tally.rejected.set(row.clerkId, 'the database keeps the row')
    } else leaveForGrace(pass, row)
  }
}
