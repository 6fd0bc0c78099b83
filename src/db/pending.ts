// What a migration would do to this database, for a run that only looks. Reads only.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { type Executor, query } from './database.ts'
import { describeDuplicates, type Migration, migrationsFolder, readMigrations } from './migrate.ts'
import { clerkIdKey, type Missing, readMissing } from './missing.ts'

/** What `migrate` would do, and whether it could. */
export interface PendingWork {
  /** The names of the migrations that were never applied, in their order. */
  readonly migrations: readonly string[]
  /** What they, or earlier ones once more, would make. */
  readonly missing: readonly Missing[]
  /** Ids that stand in several rows, which a unique clerk_id does not take; in words, undefined if there are none. */
  readonly duplicates: string | undefined
  /** Whether the role has the rights for it. */
  readonly isAllowed: boolean
}

/** Returns what is pending, undefined if nothing is. */
export async function readPendingWork(executor: Executor): Promise<PendingWork | undefined> {
  const { pending } = await readMigrations(executor, migrationsFolder)
  const missing = await readMissing(executor)
  if (pending.length === 0 && missing.length === 0) return undefined
  const [rights] = await query<{ allowed: boolean }>(
    executor,
    sql`select coalesce((select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass('users')),
            has_schema_privilege(current_schema(), 'create'))
          and coalesce((select has_schema_privilege(oid, 'create') from pg_namespace where nspname = 'clerk_sync'),
            has_database_privilege(current_database(), 'create')) as allowed`,
  )
  const isKeyMissing = missing.some(({ name }) => name === clerkIdKey)
  return {
    migrations: pending.map(nameOf),
    missing,
    duplicates: isKeyMissing ? await describeDuplicates(executor) : undefined,
    isAllowed: rights?.allowed === true,
  }
}

/** As its file is called. */
function nameOf(migration: Migration): string {
  const journal = JSON.parse(readFileSync(join(migrationsFolder, 'meta/_journal.json'), 'utf8')) as {
    entries: { when: number; tag: string }[]
  }
  return (
    journal.entries.find(({ when }) => when === migration.folderMillis)?.tag ?? migration.hash.slice(0, 8)
  )
}
