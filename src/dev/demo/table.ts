// What the demo sees of the table: through a connection of its own, in its own words. Reads only.
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { readUser } from '../../clerk/user.ts'
import { type Executor, query } from '../../db/database.ts'
import { syncedKeys, users } from '../../db/schema.ts'
import type { SandboxUser } from '../sandbox/sandbox.ts'

/** How many rows Postgres has ever inserted, updated and deleted. */
export interface Writes {
  readonly inserted: number
  readonly updated: number
  readonly deleted: number
}

const columns = [...syncedKeys.map((key) => users[key].name), 'clerk_created_at', 'clerk_updated_at']

/** Compares every row with its user in Clerk, and every user with its row. `different` holds the ids of those that differ. */
export async function compareTable(
  executor: Executor,
  clerkUsers: readonly SandboxUser[],
): Promise<{ rows: number; values: number; different: string[] }> {
  const rows = await query<Record<string, string | null>>(
    executor,
    sql`select clerk_id, ${sql.join(
      syncedKeys.map((key) => sql.identifier(users[key].name)),
      sql`, `,
    )}, (extract(epoch from clerk_created_at) * 1000)::bigint::text as clerk_created_at,
      (extract(epoch from clerk_updated_at) * 1000)::bigint::text as clerk_updated_at from users`,
  )
  const left = new Map(rows.map((row) => [row.clerk_id ?? '', row]))
  const different: string[] = []
  for (const user of clerkUsers) {
    const row = left.get(user.id)
    left.delete(user.id)
    const wanted = wantedOf(user)
    if (row === undefined || columns.some((column, index) => row[column] !== wanted[index]))
      different.push(user.id)
  }
  return {
    rows: rows.length,
    values: rows.length * columns.length,
    different: [...different, ...left.keys()],
  }
}

/** The values of `columns` that Clerk's user asks for. */
function wantedOf(user: SandboxUser): (string | null)[] {
  const read = readUser(user)
  if (read.kind !== 'user') return []
  const { values, clerkCreatedAt, clerkUpdatedAt } = read.desired
  return [...syncedKeys.map((key) => values[key]), String(clerkCreatedAt), String(clerkUpdatedAt)]
}

/** Postgres's own statistics of `users`. Backends hand in their counts as they end, so it waits for the others to end. */
export async function readWrites(executor: Executor): Promise<Writes> {
  await query(executor, sql`select pg_stat_force_next_flush()`)
  const deadline = Date.now() + 5_000
  for (;;) {
    const [others] = await query<{ count: number }>(
      executor,
      sql`select count(*)::int as count from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`,
    )
    if (others?.count === 0) break
    if (Date.now() > deadline) throw new Error('a run has left connections behind')
    await sleep(10)
  }
  const [row] = await query<Writes>(
    executor,
    sql`select n_tup_ins::int as inserted, n_tup_upd::int as updated, n_tup_del::int as deleted
        from pg_stat_user_tables where relid = to_regclass('users')`,
  )
  return row ?? { inserted: 0, updated: 0, deleted: 0 }
}
