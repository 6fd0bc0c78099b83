// Failures of Postgres that no user's write is to blame for.
import { WriteError } from '../db/database.ts'
import { isSyncError, SyncError } from '../errors.ts'

/** Returns `transient` for what Postgres refused outside of any user's write, and any other error as it is. */
export function asOperatingError(error: unknown): unknown {
  if (isSyncError(error) || !(error instanceof WriteError)) return error
  return new SyncError('transient', 'Postgres could not carry out a statement', {
    hint:
      error.kind === 'timeout'
        ? 'It was cut off. If that comes again, raise the statement_timeout of the role or the database.'
        : 'A lock of the database was in the way. Try again later.',
    facts: { code: error.code },
  })
}
