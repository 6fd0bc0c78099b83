// Columns of the app that must be given and have no default: no new user can be written while there are any.
import type { Shape } from '../db/shape.ts'
import type { Log } from '../log.ts'

/** The notes about them. */
export function unfillableColumnNotes(shape: Shape): string[] {
  return shape.unfillableColumns.map(
    (column) => `users.${column} must be given and has no default: new users may be refused until it has one`,
  )
}

/** Logs a warning for each. */
export function warnOfUnfillableColumns(shape: Shape, log: Log): void {
  for (const column of shape.unfillableColumns)
    log.warn({ column }, 'a column of the users table must be given and has no default')
}
