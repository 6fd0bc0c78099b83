// How long Postgres may take. The driver knows no bound: behind a lock on the whole table, a paused pooler or a connection
// whose other end is gone it waits for ever, while the heartbeat goes on and keeps the lease from everybody else.
import { SyncError } from '../errors.ts'

/** How long a batch of deletions may take unless `DELETE_TIMEOUT_SECONDS` says otherwise, ms: an app's cascade may be slow. */
export const deleteMsDefault = 60_000
/** How long the answer to a statement is waited for that Postgres itself ends after so many milliseconds. */
export const statementMsFor = (milliseconds: number) => milliseconds + 15_000
/** The same for a transaction around such a statement: its waits for locks come on top, and its commit. */
export const transactionMsFor = (milliseconds: number) => 2 * milliseconds + 30_000
/** For one statement, ms. */
export const statementMsMax = statementMsFor(deleteMsDefault)
/** For a transaction, ms. */
export const transactionMsMax = transactionMsFor(deleteMsDefault)

/** What `work` gives. Throws `transient` after so many milliseconds; the work is then on its own. */
export async function inTime<T>(work: PromiseLike<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(tooLate()), milliseconds)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

const tooLate = () =>
  new SyncError('transient', 'Postgres did not answer in time', {
    hint: 'Is the users table locked, a pooler paused, or the network gone? Run the command again when it answers.',
  })
