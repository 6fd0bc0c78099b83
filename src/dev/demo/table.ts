// What the demo sees of the table: through a connection of its own, in its own words. Reads only.
import type postgres from 'postgres'
import { readUser } from '../../clerk/user.ts'
import { syncedKeys, users } from '../../db/schema.ts'
import type { SandboxUser } from '../sandbox/sandbox.ts'

const columns = [...syncedKeys.map((key) => users[key].name), 'clerk_created_at', 'clerk_updated_at']

/** Compares every row with its user in Clerk, and every user with its row. `different` holds the ids of those that differ. */
export async function compareTable(
  sql: postgres.Sql,
  clerkUsers: readonly SandboxUser[],
): Promise<{ rows: number; values: number; different: string[] }> {
  const rows = await sql<Record<string, string | null>[]>`
    select clerk_id, ${sql(syncedKeys.map((key) => users[key].name))},
      (extract(epoch from clerk_created_at) * 1000)::bigint::text as clerk_created_at,
      (extract(epoch from clerk_updated_at) * 1000)::bigint::text as clerk_updated_at
    from users`
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
