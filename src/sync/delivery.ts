// What a webhook writes: the same guarded statements as a pass, for one user, in one transaction. Late, repeated and
// reordered deliveries end in the same row: a stale version loses, and any tombstone blocks, since only a pass, which
// has read all of Clerk, may lift one.
import { type Database, PostgresRefusal } from '../db/database.ts'
import { writeTransaction } from '../db/ledger.ts'
import { statementMsFor } from '../db/patience.ts'
import type { DesiredUser } from '../db/schema.ts'
import type { Shape } from '../db/shape.ts'
import { deleteUser } from '../db/tombstones.ts'
import { insertUsers, readRows, refreshUsers, updateUsers } from '../db/users.ts'
import { SyncError } from '../errors.ts'

export type DeliveryOutcome =
  | 'created'
  | 'updated'
  | 'refreshed'
  /** The row has this version or a newer one, or a deletion came first. */
  | 'stale'
  | 'deleted'
  /** There was no row; the tombstone will keep late news out. */
  | 'absent'
  /** `SYNC_POLICY` is `upsert-only`. */
  | 'kept'
  /** The app's schema refuses the row, and would refuse it again. */
  | 'refused'

export interface Delivered {
  readonly outcome: DeliveryOutcome
  /** Of `refused`: by what. */
  readonly reason?: string
}

/** A lock is tried again at once; Svix tries a 503 again in seconds. */
const tries = 2
/** Every tombstone is younger than that. */
const always = Number.NEGATIVE_INFINITY

/** Writes a user as a webhook has it. Throws `transient` for whatever a repeat of the delivery can cure. */
export function deliverUser(database: Database, shape: Shape, user: DesiredUser): Promise<Delivered> {
  return withoutLocks(async () => {
    const outcome = await writeTransaction(database, { runId: null, fence: 'none' }, async (tx) => {
      // Within the transaction: outside of it a lock on the whole table would be waited for without end.
      const [row] = await readRows(tx, [user.clerkId], shape)
      return row === undefined ? undefined : writeNewer(tx, user)
    })
    if (outcome !== undefined) return outcome
    return writeTransaction(database, { runId: null, fence: 'shared' }, async (tx) => {
      const created = await insertUsers(tx, [user], always)
      return created.length > 0 ? 'created' : writeNewer(tx, user)
    })
  })
}

/** Deletes a user whatever its row's version, and leaves a tombstone. Throws `transient` as above. */
export function deliverDeletion(
  database: Database,
  clerkId: string,
  policy: 'sync' | 'upsert-only',
): Promise<Delivered> {
  if (policy === 'upsert-only') return Promise.resolve({ outcome: 'kept' })
  return withoutLocks(async () => {
    const deleted = await writeTransaction(database, { runId: null, fence: 'exclusive' }, (tx) =>
      deleteUser(tx, clerkId, statementMsFor(database.deleteMsMax)),
    )
    return deleted ? 'deleted' : 'absent'
  })
}

async function writeNewer(
  tx: Parameters<typeof updateUsers>[0],
  user: DesiredUser,
): Promise<DeliveryOutcome> {
  if ((await updateUsers(tx, [user], 'webhook')).length > 0) return 'updated'
  return (await refreshUsers(tx, [user], 'webhook')).length > 0 ? 'refreshed' : 'stale'
}

async function withoutLocks(write: () => Promise<DeliveryOutcome>): Promise<Delivered> {
  for (let tryNumber = 1; ; tryNumber++) {
    try {
      return { outcome: await write() }
    } catch (error) {
      if (!(error instanceof PostgresRefusal)) throw error
      if (error.kind === 'row') {
        return { outcome: 'refused', reason: `refused by ${error.constraint} (${error.code})` }
      }
      if (error.kind === 'privilege') {
        throw new SyncError('configuration', 'the database role lacks a privilege', {
          hint: 'Grant what the README lists to the role in DATABASE_URL.',
          facts: { code: error.code },
        })
      }
      if (error.kind === 'timeout') {
        throw new SyncError('transient', 'the write was cut off because it took too long', {
          hint: 'Is an index missing on a table that refers to users? DELETE_TIMEOUT_SECONDS is how long a deletion may take.',
          facts: { code: error.code },
        })
      }
      if (tryNumber < tries) continue
      throw new SyncError('transient', 'another transaction held the row for too long', {
        facts: { code: error.code },
      })
    }
  }
}
