// How many rows the runs have deleted: what the guard counts.
import { sql } from 'drizzle-orm'
import type { TableCatalog } from './catalog.ts'
import { type Executor, query } from './database.ts'
import { leaseLost } from './lease.ts'

/**
 * Adds to what the run has deleted, in the transaction that deletes: whatever becomes of the run, the guard counts these
 * rows. Throws `busy` if the run is no longer `running`.
 */
export async function countDeletions(tx: Executor, runId: number, deleted: number): Promise<void> {
  const rows = await query(
    tx,
    sql`update clerk_sync.runs set deleted = deleted + ${deleted}::integer, deleted_at = clock_timestamp()
        -- a lost lease deletes nothing
        where id = ${runId} and status = 'running' returning id`,
  )
  if (rows.length === 0) throw leaseLost(runId)
}

/**
 * How many rows the runs have deleted within an hour, approved ones left out: what the guard counts. A run that has
 * deleted within the hour counts whole. Tombstones would not do: a user who comes back takes theirs away.
 */
export async function countRecentDeletions(executor: Executor, catalog: TableCatalog): Promise<number> {
  if (!catalog.ownColumns.has('runs.deleted')) return 0
  const [row] = await query<{ count: number }>(
    executor,
    sql`select coalesce(sum(deleted), 0)::float8 as count from clerk_sync.runs
        where deleted_at > now() - interval '1 hour'
        -- approved rows are not counted
        and approve_deletes is null`,
  )
  return row?.count ?? 0
}
