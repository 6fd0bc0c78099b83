// The hold on deletions, in the one row of `clerk_sync.state`: while it stands, rows are deleted only where an operator
// has approved it. It begins in the transaction that shows the reason for it.
import { sql } from 'drizzle-orm'
import type { TableCatalog } from './catalog.ts'
import { type Executor, query } from './database.ts'

/** A table that had rows was bound to an instance, or a user came back whose row a run had deleted. */
export type HoldReason = 'first-look' | 'returned'

/**
 * The hold as the state keeps it: the reason and the moment, which tells it from every other hold. So a run ends only the
 * one that it began with.
 */
export const newHold = (reason: HoldReason) =>
  sql`${reason}::text || to_char(clock_timestamp() at time zone 'UTC', ' YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

/** Returns the hold that stands, undefined if there is none. */
export async function readHold(executor: Executor, catalog: TableCatalog): Promise<string | undefined> {
  if (!catalog.ownColumns.has('state.deletion_hold')) return undefined
  const [row] = await query<{ hold: string | null }>(
    executor,
    sql`select deletion_hold as hold from clerk_sync.state`,
  )
  return row?.hold ?? undefined
}

/** Ends that hold. Another one that has begun since stays. */
export async function endHold(executor: Executor, hold: string): Promise<void> {
  await query(executor, sql`update clerk_sync.state set deletion_hold = null where deletion_hold = ${hold}`)
}
