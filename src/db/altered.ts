// Rows that do not hold what was just written to them: a trigger or rule of the app has changed the values on the way.
// Read in the transaction that wrote them, after every trigger of the statement has run.
import { sql } from 'drizzle-orm'
import { arrayParameter, type Executor, query } from './database.ts'
import { type SyncedValues, syncedKeys, users } from './schema.ts'
import { epochMs } from './times.ts'
import { differs, unnest, type Write } from './users.ts'

/** A row with the version of the write and other values. */
export interface AlteredRow {
  readonly clerkId: string
  /** As they are stored. */
  readonly values: { readonly [K in keyof SyncedValues]: string | null }
}

/** Returns the rows of these users that have the version written and differ in a value, in the order of their ids. */
export async function readAltered(tx: Executor, writes: readonly Write[]): Promise<AlteredRow[]> {
  if (writes.length === 0) return []
  const columns = syncedKeys.map(
    (key) => sql`u.${sql.identifier(users[key].name)}::text as ${sql.identifier(key)}`,
  )
  const rows = await query<Record<string, string | null>>(
    tx,
    sql`select u.clerk_id, ${sql.join(columns, sql`, `)} from users u join ${unnest(writes)} d using (clerk_id)
        -- a newer version is another writer's
        where ${epochMs('clerk_updated_at')} = (extract(epoch from d.clerk_updated_at) * 1000)::float8 and ${differs}
        order by u.clerk_id`,
  )
  return rows.map((row) => ({
    clerkId: row.clerk_id ?? '',
    values: Object.fromEntries(syncedKeys.map((key) => [key, row[key] ?? null])) as AlteredRow['values'],
  }))
}

/**
 * Keeps fingerprints of altered rows for the next pass, where the run at hand has no pass that came to its end and keeps
 * them itself. The caller's transaction ends the run.
 */
export async function rememberAltered(
  tx: Executor,
  altered: readonly (readonly [clerkId: string, fingerprint: string])[],
): Promise<void> {
  const ids = arrayParameter(
    altered.map(([clerkId]) => clerkId),
    'text',
  )
  const nothing = {
    withheld: [],
    undeletable: [],
    pendingRows: [],
    pendingUsers: [],
    rejected: [],
    unexplained: 0,
  }
  await query(
    tx,
    sql`update clerk_sync.state set difference = jsonb_set(before.known, '{altered}', ${JSON.stringify(altered)}::jsonb ||
          coalesce((select jsonb_agg(each) from jsonb_array_elements(before.known -> 'altered') each
            -- one fingerprint a user
            where each ->> 0 <> all(${ids})), '[]'))
        from (select coalesce(difference, ${JSON.stringify(nothing)}::jsonb) as known from clerk_sync.state) before`,
  )
}
