// The SQL that deletes from `users`, and the tombstones that each deletion leaves: the memory that keeps late news from
// putting a user back. The caller's transaction holds the deletion lock.
import { sql } from 'drizzle-orm'
import type { TableCatalog } from './catalog.ts'
import { arrayParameter, type Executor, query } from './database.ts'
import { countDeletions } from './deletion-count.ts'
import { newHold } from './hold.ts'
import { epochMs, moment } from './times.ts'

/** Which of these users have a tombstone, and whether it is younger than `tombstonesBlockSince` (ms, Postgres's clock). */
export async function readTombstones(
  executor: Executor,
  clerkIds: readonly string[],
  tombstonesBlockSince: number,
  catalog: TableCatalog,
): Promise<Map<string, 'blocking' | 'expired'>> {
  if (!catalog.ownTables.has('tombstones') || clerkIds.length === 0) return new Map()
  const rows = await query<{ clerk_id: string; blocks: boolean }>(
    executor,
    sql`select clerk_id, deleted_at > ${moment(tombstonesBlockSince)} as blocks from clerk_sync.tombstones
        where clerk_id = any(${arrayParameter(clerkIds, 'text')})`,
  )
  return new Map(rows.map((row) => [row.clerk_id, row.blocks ? 'blocking' : 'expired']))
}

/**
 * Deletes rows that still have the version they were judged by, leaves tombstones, and counts the rows in the run's
 * line. Returns the ids deleted. The caller's transaction holds the deletion lock alone. Throws as `countDeletions` does, and
 * `transient` where there is no answer within `milliseconds`.
 */
export async function deleteUsers(
  tx: Executor,
  rows: readonly { clerkId: string; clerkUpdatedAt: number | null }[],
  runId: number | null,
  milliseconds?: number,
): Promise<string[]> {
  const ids = arrayParameter(
    rows.map((row) => row.clerkId),
    'text',
  )
  const versions = arrayParameter(
    rows.map((row) => row.clerkUpdatedAt),
    'float8',
  )
  const deleted = await query<{ clerk_id: string }>(
    tx,
    sql`with judged as (select * from unnest(${ids}, ${versions}) as j(clerk_id, version)),
        locked as materialized (select u.clerk_id from users u join judged j using (clerk_id)
          -- a newer version lives
          where ${epochMs('clerk_updated_at')} is not distinct from j.version
          order by u.clerk_id for update of u),
        deleted as (delete from users u using locked where u.clerk_id = locked.clerk_id
          returning u.clerk_id)
        -- not now(): the transaction may have begun long before it got the deletion lock
        insert into clerk_sync.tombstones (clerk_id, deleted_at, run_id)
        select clerk_id, clock_timestamp(), ${runId}::bigint from deleted
        on conflict (clerk_id) do update set deleted_at = excluded.deleted_at, run_id = excluded.run_id
        returning clerk_id`,
    milliseconds,
  )
  // Last: until the commit this locks the run's line, which the heartbeats move.
  if (runId !== null && deleted.length > 0) await countDeletions(tx, runId, deleted.length)
  return deleted.map((row) => row.clerk_id)
}

/** Deletes one user's row whatever its version, and leaves a tombstone also where there was none: Clerk has said so. */
export async function deleteUser(tx: Executor, clerkId: string, milliseconds?: number): Promise<boolean> {
  const deleted = await query(
    tx,
    sql`delete from users where clerk_id = ${clerkId} returning clerk_id`,
    milliseconds,
  )
  await query(
    tx,
    sql`insert into clerk_sync.tombstones (clerk_id, deleted_at) values (${clerkId}, clock_timestamp())
        on conflict (clerk_id) do update set deleted_at = excluded.deleted_at, run_id = excluded.run_id`,
  )
  return deleted.length > 0
}

/**
 * Left by a run, and not long ago: should the user have a row again, the run was wrong. The hour counts from the end of
 * the grace, since until then nobody is put back. A webhook's tombstone is Clerk's own word.
 */
const isRuns = (tombstonesBlockSince: number) =>
  sql`run_id is not null and deleted_at > ${moment(tombstonesBlockSince)} - interval '1 hour'`

/**
 * Removes the tombstones of users who have a row again. Where a run had deleted one of them within an hour, that was
 * wrong, and others may have been too: in the same transaction deletions are put on hold.
 */
export async function liftTombstones(
  tx: Executor,
  clerkIds: readonly string[],
  tombstonesBlockSince: number,
): Promise<void> {
  await query(
    tx,
    sql`with lifted as (delete from clerk_sync.tombstones where clerk_id = any(${arrayParameter(clerkIds, 'text')})
          returning deleted_at, run_id)
        update clerk_sync.state set deletion_hold = ${newHold('returned')}
        -- that run was wrong
        where exists (select from lifted where ${isRuns(tombstonesBlockSince)})`,
  )
}

/** Whether a run has deleted one of these users within an hour: were they inserted, deletions would be put on hold. */
export async function wereDeletedByRuns(
  executor: Executor,
  clerkIds: readonly string[],
  tombstonesBlockSince: number,
  catalog: TableCatalog,
): Promise<boolean> {
  if (!catalog.ownTables.has('tombstones')) return false
  const rows = await query(
    executor,
    sql`select from clerk_sync.tombstones
        where clerk_id = any(${arrayParameter(clerkIds, 'text')}) and ${isRuns(tombstonesBlockSince)} limit 1`,
  )
  return rows.length > 0
}

/** Forgets tombstones older than 30 days: longer than any delivery or listing is late. */
export async function forgetOldTombstones(tx: Executor): Promise<void> {
  await query(tx, sql`delete from clerk_sync.tombstones where deleted_at < now() - interval '30 days'`)
}
