// A pass's way into a transaction that writes: by the lease, and through the fence, which is tried again for as long as
// somebody else's deletion or insert is under way, since that says nothing about a user.

import { type Executor, PostgresRefusal } from '../db/database.ts'
import { writeTransaction } from '../db/ledger.ts'
import { SyncError } from '../errors.ts'
import type { PassContext } from './pass.ts'

/** How often the fence is tried; each try waits 2 s. */
const fenceTries = 5

/**
 * What `write` gives, in a transaction with the pass's lease and that fence. Throws `transient` if the fence was not to
 * be had, the signal's reason between two tries, and whatever `writeTransaction` throws.
 */
export async function writeFenced<T>(
  pass: PassContext,
  fence: 'shared' | 'exclusive' | 'none',
  write: (tx: Executor) => Promise<T>,
): Promise<T> {
  for (let tryNumber = 1; ; tryNumber++) {
    try {
      return await writeTransaction(pass.database, { runId: pass.runId, fence }, write)
    } catch (error) {
      if (!(error instanceof PostgresRefusal) || error.kind !== 'fence') throw error
      pass.signal.throwIfAborted()
      if (tryNumber < fenceTries) continue
      throw new SyncError('transient', 'another process held up the writes for too long', {
        hint: 'Is a long transaction of a webhook or an old run stuck? Try again later.',
      })
    }
  }
}
