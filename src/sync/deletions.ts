// The SQL's side of deletions: rows that may go are deleted in small transactions, each of which looks once more whether it
// still may. One row that Postgres does not let go holds up no other.
import { type Executor, WriteError } from '../db/database.ts'
import type { CurrentRow } from '../db/schema.ts'
import { statementMsFor } from '../db/timeouts.ts'
import { deleteUsers } from '../db/tombstones.ts'
import { readRows } from '../db/users.ts'
import { isStillAllowed, readAllowance } from './allowance.ts'
import { type Allowance, becauseOf } from './deletion-policy.ts'
import { rejectDeletion } from './failed-writes.ts'
import type { Finding } from './finding.ts'
import type { PassContext } from './pass.ts'
import { lockTries, passTransaction, refusalOf } from './pass-transaction.ts'
import { leftForGrace } from './pending.ts'
import { withhold } from './withheld.ts'

/** An app's cascade may be slow; a transaction stays short. */
const deletionsPerTransaction = 20
/** After this many deletions in a row that were cut off by their time limit, the others are left for the next run. */
const slowInARowMax = 5

/** Deletes rows whose users Clerk denies, and leaves tombstones. Throws `SyncError`. */
export async function* deleteRows(
  pass: PassContext,
  rows: readonly CurrentRow[],
  { hourlyMax }: Allowance,
): AsyncGenerator<Finding, void> {
  const ordered = startingAt(rows, pass.runId ?? 0)
  let slow = 0
  for (let start = 0; start < rows.length; start += deletionsPerTransaction) {
    pass.signal.throwIfAborted()
    pass.onPhase('deleting', rows.length - start)
    const batch = ordered.slice(start, start + deletionsPerTransaction)
    slow = yield* deleteBatch(pass, batch, hourlyMax, slow)
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
async function* deleteBatch(
  pass: PassContext,
  rows: readonly CurrentRow[],
  hourlyMax: number,
  slow: number,
): AsyncGenerator<Finding, number> {
  if (rows.length > 1 && slow < slowInARowMax) {
    const deleted = await tryToDelete(pass, rows, hourlyMax)
    if (!(deleted instanceof WriteError)) {
      yield* explainDeleted(pass, rows, deleted)
      return 0
    }
  }
  // What the app's schema refuses for one row holds up no other.
  let slowNow = slow
  for (const row of rows) {
    if (slowNow >= slowInARowMax) {
      yield { undeletable: [{ clerkId: row.clerkId, reason: untriedText }] }
      continue
    }
    pass.signal.throwIfAborted()
    const deleted = await tryToDelete(pass, [row], hourlyMax)
    if (!(deleted instanceof WriteError)) {
      yield* explainDeleted(pass, [row], deleted)
      slowNow = 0
      continue
    }
    const { finding, error } = rejectDeletion(pass, row.clerkId, deleted)
    yield finding
    if (error !== undefined) throw error
    slowNow = deleted.kind === 'timeout' ? slowNow + 1 : 0
  }
  return slowNow
}

const untriedText = 'deletion left for the next run: those before it took too long'

/**
 * Deletes the rows in one transaction. Returns the ids deleted, undefined where that is no longer allowed, or what
 * Postgres refuses it by.
 */
function tryToDelete(
  pass: PassContext,
  rows: readonly CurrentRow[],
  hourlyMax: number,
): Promise<string[] | undefined | WriteError> {
  const milliseconds = statementMsFor(pass.database.deleteMsMax)
  const write = async (tx: Executor) =>
    (await isStillAllowed(tx, pass, rows.length, hourlyMax))
      ? deleteUsers(tx, rows, pass.runId, milliseconds)
      : undefined
  const tries = rows.length === 1 ? lockTries.ofOne : lockTries.ofMany
  return refusalOf(() => passTransaction(pass, 'exclusive', write, tries))
}

/** What became of rows whose deletion Postgres took. */
async function* explainDeleted(
  pass: PassContext,
  rows: readonly CurrentRow[],
  deleted: readonly string[] | undefined,
): AsyncGenerator<Finding, void> {
  if (deleted === undefined) {
    // Since Clerk was asked, another run has deleted, or a user has come back.
    const ids = rows.map((row) => row.clerkId)
    const allowance = await readAllowance(pass, undefined)
    yield* withhold(pass, ids, becauseOf({ ...allowance, allowed: 0 }), true)
    return
  }
  yield { deleted }
  const ids = new Set(deleted)
  yield* explainUndeleted(
    pass,
    rows.filter((row) => !ids.has(row.clerkId)),
  )
}

/** A row that is still there, with the same version, was kept by the app (a trigger, a rule): that must not be silent. */
async function* explainUndeleted(
  pass: PassContext,
  rows: readonly CurrentRow[],
): AsyncGenerator<Finding, void> {
  if (rows.length === 0) return
  const versions = new Map(rows.map((row) => [row.clerkId, row.clerkUpdatedAt]))
  const found = await readRows(pass.database.db, [...versions.keys()], pass.catalog)
  const isUnchanged = (row: CurrentRow) => row.clerkUpdatedAt === versions.get(row.clerkId)
  const reason = 'the database keeps the row'
  yield { undeletable: found.filter(isUnchanged).map(({ clerkId }) => ({ clerkId, reason })) }
  yield leftForGrace(
    pass,
    found.filter((row) => !isUnchanged(row)),
  )
}
