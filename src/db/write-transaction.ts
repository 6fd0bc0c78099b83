// The only way to write to `users`: a transaction that takes the deletion lock and sees that its run still has the lease, and that is
// tried again where another transaction is in the way.
import { sql } from 'drizzle-orm'
import { type Database, type Executor, query, transaction, WriteError } from './database.ts'
import { leaseLost } from './lease.ts'
import { transactionMsFor } from './timeouts.ts'
import { asPrivilegeError } from './write-error.ts'

/** How long a write waits for the app's locks. Longer would hold up everyone behind one long transaction. */
const lockTimeout = sql.raw(`'2s'`)
/** Any number will do, as long as no other part of the app locks the same one: "clerk-sx" in ASCII. */
const deletionLockKey = sql.raw('7163371136806975352')

export interface WriteOptions {
  /** Null for a webhook's write, which has no run. */
  readonly runId: number | null
  /**
   * What the transaction is for: `shared` if it may insert, `exclusive` if it deletes, `none` if it only updates. Then a
   * deletion sees every earlier insert, and every later insert sees the tombstone.
   */
  readonly deletionLock: 'shared' | 'exclusive' | 'none'
  /** How often it is tried when a lock or the deletion lock is not to be had, 2 s each time; once unless given. */
  readonly tries?: { readonly lock: number; readonly 'deletion-lock': number }
  /** Aborting it ends the tries. */
  readonly signal?: AbortSignal
}

/**
 * Runs a transaction that writes to `users`. Throws `busy` if the run is no longer `running`, `WriteError` for a deletion lock,
 * a lock or a row that was not to be had, a right that the role lacks, and a deletion that took longer than
 * `database.deleteMsMax`, and the signal's reason between two tries.
 */
export async function writeTransaction<T>(
  database: Database,
  options: WriteOptions,
  write: (tx: Executor) => Promise<T>,
): Promise<T> {
  const left = { lock: 1, 'deletion-lock': 1, ...options.tries }
  for (;;) {
    try {
      return await writeOnce(database, options, write)
    } catch (thrown) {
      const error = asPrivilegeError(thrown)
      if (!(error instanceof WriteError)) throw error
      if (error.kind !== 'lock' && error.kind !== 'deletion-lock') throw error
      left[error.kind]--
      if (left[error.kind] <= 0) throw error
      options.signal?.throwIfAborted()
    }
  }
}

function writeOnce<T>(
  database: Database,
  options: WriteOptions,
  write: (tx: Executor) => Promise<T>,
): Promise<T> {
  const deleteTimeout = sql.raw(`'${database.deleteMsMax}ms'`)
  return transaction(
    database,
    async (tx) => {
      await query(tx, sql`set local lock_timeout = ${lockTimeout}`)
      // Alone and before any other lock: together with an insert it would look with older eyes, after row locks it
      // would deadlock.
      if (options.deletionLock !== 'none') await takeDeletionLock(tx, options.deletionLock)
      if (options.deletionLock === 'exclusive')
        await query(tx, sql`set local statement_timeout = ${deleteTimeout}`)
      if (options.runId !== null) await requireLease(tx, options.runId)
      return write(tx)
    },
    transactionMsFor(database.deleteMsMax),
  )
}

async function takeDeletionLock(tx: Executor, mode: 'shared' | 'exclusive'): Promise<void> {
  const lock = sql.raw(mode === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock')
  try {
    await query(tx, sql`select ${lock}(${deletionLockKey})`)
  } catch (error) {
    throw error instanceof WriteError ? new WriteError('deletion-lock', error.code, 'deletion-lock') : error
  }
}

/** A plain look, no row lock: a heartbeat must never wait for a page. */
async function requireLease(tx: Executor, runId: number): Promise<void> {
  const rows = await query(tx, sql`select from clerk_sync.runs where id = ${runId} and status = 'running'`)
  if (rows.length === 0) throw leaseLost(runId)
}
