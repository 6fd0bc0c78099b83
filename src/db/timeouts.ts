// Timeouts of statements and transactions. postgres.js has none: behind a table lock, a paused pooler or a dead connection
// it waits for ever, while our heartbeat keeps the lease.
import { withDeadline } from '../deadline.ts'
import { SyncError } from '../errors.ts'

/** How long a batch of deletions may take unless `DELETE_TIMEOUT_SECONDS` says otherwise, ms: an app's cascade may be slow. */
export const deleteMsDefault = 60_000
/** How long to wait for a statement that Postgres itself ends after `milliseconds`. */
export const statementMsFor = (milliseconds: number) => milliseconds + 15_000
/** The same for a transaction around such a statement: its waits for locks come on top, and its commit. */
export const transactionMsFor = (milliseconds: number) => 2 * milliseconds + 30_000
/** For one statement, ms. */
export const statementMsMax = statementMsFor(deleteMsDefault)
/** For a transaction, ms. */
export const transactionMsMax = transactionMsFor(deleteMsDefault)

/** Returns what `work` returns. Throws `transient` after `milliseconds`; the work itself continues. */
export const withPostgresTimeout = <T>(work: PromiseLike<T>, milliseconds: number): Promise<T> =>
  withDeadline(work, milliseconds, () => {
    throw new SyncError('transient', 'Postgres did not answer in time', {
      hint: 'Is the users table locked, a pooler paused, or the network gone? Run the command again when it answers.',
    })
  })
