// Columns of the app that must be given and have no default: no new user can be written while there are any.
import type { TableCatalog } from '../db/catalog.ts'
import type { Log } from '../log.ts'

/** The notes about them. */
export function unfillableColumnNotes(catalog: TableCatalog): string[] {
  return catalog.unfillableColumns.map(
    (column) => `users.${column} must be given and has no default: new users may be refused until it has one`,
  )
}

/** Logs a warning for each. */
export function warnOfUnfillableColumns(catalog: TableCatalog, log: Log): void {
  for (const column of catalog.unfillableColumns)
    log.warn({ column }, 'a column of the users table must be given and has no default')
}
