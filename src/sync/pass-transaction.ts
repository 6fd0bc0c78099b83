// A pass's way into a transaction that writes. A deletion lock that is not to be had says nothing about a user: the run ends.
import { type Executor, WriteError } from '../db/database.ts'
import { type WriteOptions, writeTransaction } from '../db/write-transaction.ts'
import { SyncError } from '../errors.ts'
import type { PassContext } from './pass.ts'

/** How often a transaction is tried that no single user's row can be blamed for, and one that writes a single row. */
export const lockTries = { ofMany: 1, ofOne: 2 }
/** As long as another process's deletion or insert is under way. */
const deletionLockTries = 5

/** Writes with the pass's lease. Throws `transient` if the deletion lock was not to be had, else as `writeTransaction`. */
export async function passTransaction<T>(
  { database, runId, signal }: PassContext,
  deletionLock: WriteOptions['deletionLock'],
  write: (tx: Executor) => Promise<T>,
  lock = lockTries.ofMany,
): Promise<T> {
  try {
    const tries = { lock, 'deletion-lock': deletionLockTries }
    return await writeTransaction(database, { runId, deletionLock, tries, signal }, write)
  } catch (error) {
    if (!(error instanceof WriteError) || error.kind !== 'deletion-lock') throw error
    throw new SyncError('transient', 'another process held up the writes for too long', {
      hint: 'Is a long transaction of a webhook or an old run stuck? Try again later.',
    })
  }
}

/** What `write` returns, or what Postgres refuses it by. Throws all else. */
export async function refusalOf<T>(write: () => Promise<T>): Promise<T | WriteError> {
  try {
    return await write()
  } catch (error) {
    if (error instanceof WriteError) return error
    throw error
  }
}
