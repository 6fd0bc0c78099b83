// How old a row without a version is. Its own creation time says it, if that is a time in the past; else the row was
// first seen when `clerk_sync.first_seen` says so. A time that is missing, infinite or yet to come says nothing about age.
import { type SQL, sql } from 'drizzle-orm'
import type { TableCatalog } from './catalog.ts'
import { arrayParameter, type Executor, query } from './database.ts'
import { users } from './schema.ts'

const tellsAge = sql.raw('isfinite(u.created_at) and u.created_at <= now()')

const hasCreationTime = (catalog: TableCatalog) => catalog.userColumns?.has(users.createdAt.name) === true

/** Whether the row `u` is a day old, as far as its creation time or its first meeting tells; false if neither does. */
export function isDayOld(catalog: TableCatalog): SQL {
  const met = catalog.ownTables.has('first_seen')
    ? sql`(select f.first_seen_at from clerk_sync.first_seen f where f.clerk_id = u.clerk_id)`
    : sql`null::timestamptz`
  const since = hasCreationTime(catalog) ? sql`case when ${tellsAge} then u.created_at else ${met} end` : met
  return sql`coalesce(${since} < now() - interval '1 day', false)`
}

/**
 * Records the first sight of these rows, where neither a version nor a creation time gives their age. Returns how many
 * such rows there are. With `isDryRun` it only counts them.
 */
export async function noteFirstSeen(
  executor: Executor,
  clerkIds: readonly string[],
  catalog: TableCatalog,
  isDryRun: boolean,
): Promise<number> {
  if (catalog.userColumns === undefined || clerkIds.length === 0) return 0
  const ageless = hasCreationTime(catalog) ? sql`coalesce(not (${tellsAge}), true)` : sql`true`
  const rows = await query<{ clerk_id: string }>(
    executor,
    sql`select u.clerk_id from users u
        where u.clerk_id = any(${arrayParameter(clerkIds, 'text')}) and ${ageless} order by u.clerk_id`,
  )
  if (isDryRun || rows.length === 0) return rows.length
  const ids = arrayParameter(
    rows.map((row) => row.clerk_id),
    'text',
  )
  await query(
    executor,
    sql`insert into clerk_sync.first_seen (clerk_id) select unnest(${ids})
        on conflict (clerk_id) do update set first_seen_at = excluded.first_seen_at
          -- a clock that was ahead
          where first_seen.first_seen_at > excluded.first_seen_at`,
  )
  return rows.length
}

/** Forgets rows that are gone or have got a version. */
export async function forgetFirstSeen(tx: Executor): Promise<void> {
  await query(
    tx,
    sql`delete from clerk_sync.first_seen f
        where not exists (select from users u where u.clerk_id = f.clerk_id and u.clerk_updated_at is null)`,
  )
}
