// How long Postgres may take. The driver knows no bound: behind a lock on the whole table, a paused pooler or a connection
// whose other end is gone it waits for ever, while the heartbeat goes on and keeps the lease from everybody else.
import { SyncError } from '../errors.ts'

/** For one statement, ms. Longer than all that is asked at once: a batch of deletions may take 60 s. */
export const statementMsMax = 75_000
/** For a transaction, ms: a batch of deletions, and its waits for locks. */
export const transactionMsMax = 150_000

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
