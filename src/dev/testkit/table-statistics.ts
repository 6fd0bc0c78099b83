// What Postgres itself counts for the table, as a witness of what was written. Reads only.
import { setTimeout as sleep } from 'node:timers/promises'
import type postgres from 'postgres'

/** How many rows of `users` were ever inserted, updated and deleted, rolled back or not. */
export interface TableStatistics {
  readonly inserted: number
  readonly updated: number
  readonly deleted: number
}

/**
 * Reads what Postgres counted for `users`, over a client of one connection. Backends hand in their counts when they end,
 * before they leave the list of sessions, so this waits for that list to be empty: close every other connection of the
 * database first, or it throws after 5 seconds.
 */
export async function readTableStatistics(sql: postgres.Sql): Promise<TableStatistics> {
  const deadline = Date.now() + 5_000
  // Our own backend has not ended; without this it keeps its counts for up to a minute.
  await sql`select pg_stat_force_next_flush()`
  for (;;) {
    const [others] = await sql<{ count: number; names: string }[]>`
      select count(*)::int, coalesce(string_agg(distinct application_name, ', '), '') as names
      from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`
    if (others === undefined || others.count === 0) break
    if (Date.now() > deadline) throw new Error(`still connected, with counts of their own: ${others.names}`)
    await sleep(5)
  }
  const [row] = await sql<TableStatistics[]>`
    select n_tup_ins::int as inserted, n_tup_upd::int as updated, n_tup_del::int as deleted
    from pg_stat_user_tables where relid = to_regclass('users')`
  return row ?? { inserted: 0, updated: 0, deleted: 0 }
}
