// The migrator: applies what is missing of `drizzle/` in one transaction that holds a lock, so that four processes may
// start at once. It looks first: with nothing pending no privilege to create is needed.
import { fileURLToPath } from 'node:url'
import { sql } from 'drizzle-orm'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import { isSyncError, SyncError } from '../errors.ts'
import { type Database, type Executor, PostgresRefusal, query, transaction } from './database.ts'

const migrationsFolder = fileURLToPath(new URL('../../drizzle', import.meta.url))
/** Any number will do, as long as no other part of the app locks the same one: "clerk-sy" in ASCII. */
const migrationLock = sql.raw('7163371136806975353')

/** An index on a table of millions of rows takes minutes, and so does waiting for somebody else to make it. */
const migrationMsMax = 15 * 60_000

/**
 * Brings the database to the newest schema. Gives how many migrations it applied.
 * Throws `configuration` if the role may not, `transient` if the app holds the table, `contract` if one fails.
 */
export async function migrate(database: Database): Promise<{ applied: number }> {
  if ((await readPending(database.db)).length === 0) return { applied: 0 }
  try {
    return await transaction(
      database,
      async (tx) => {
        await query(tx, sql`select pg_advisory_xact_lock(${migrationLock})`)
        // An ALTER that waits behind an app's transaction makes the whole app wait behind itself.
        await query(tx, sql`set local lock_timeout = '10s'`)
        const pending = await readPending(tx)
        for (const migration of pending) {
          for (const statement of migration.sql) await query(tx, sql.raw(statement))
          await query(
            tx,
            sql`create table if not exists clerk_sync.migrations (
            id bigint primary key, hash text not null, applied_at timestamptz not null default now())`,
          )
          await query(
            tx,
            sql`insert into clerk_sync.migrations (id, hash) values (${migration.folderMillis}, ${migration.hash})`,
          )
        }
        return { applied: pending.length }
      },
      migrationMsMax,
    )
  } catch (error) {
    throw migrationError(error)
  }
}

/** True if `migrate` would have something to do. Reads only. */
export async function hasPendingMigrations(executor: Executor): Promise<boolean> {
  return (await readPending(executor)).length > 0
}

async function readPending(executor: Executor) {
  const migrations = readMigrationFiles({ migrationsFolder })
  const [known] = await query<{ exists: boolean }>(
    executor,
    // Not to_regclass: after the wait for the lock its cache would still say that there is none.
    sql`select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = 'clerk_sync' and c.relname = 'migrations') as exists`,
  )
  if (known?.exists !== true) return migrations
  const applied = await query<{ id: string }>(executor, sql`select id::text from clerk_sync.migrations`)
  const ids = new Set(applied.map((row) => row.id))
  return migrations.filter((migration) => !ids.has(String(migration.folderMillis)))
}

function migrationError(error: unknown): unknown {
  if (isSyncError(error, 'configuration') && error.facts.code === '42501') {
    return new SyncError('configuration', 'migrations are pending and the database role may not apply them', {
      hint: 'Run `npm run db:migrate` once with a DATABASE_URL whose role owns the users table and may create a schema.',
      facts: error.facts,
    })
  }
  if (error instanceof PostgresRefusal && error.kind === 'timeout') {
    return new SyncError(
      'contract',
      'the migration was cut off because it took too long; nothing of it was kept',
      {
        hint: 'Does the role have a statement_timeout? An index on a large table takes minutes: lift it for this run.',
        facts: { code: error.code },
      },
    )
  }
  if (error instanceof PostgresRefusal) {
    return error.kind === 'lock'
      ? new SyncError('transient', 'the migration waited too long for the users table', {
          hint: 'A transaction of the app holds it. Try again when that one has ended.',
        })
      : new SyncError('contract', 'a migration failed; nothing of it was kept', {
          hint: 'Two rows with the same clerk_id stop the adoption of a users table: keep one of them.',
          facts: { code: error.code, constraint: error.constraint },
        })
  }
  return error
}
