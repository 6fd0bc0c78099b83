// The migrator: applies what is missing of `drizzle/` in one transaction that holds a lock, so that four processes may
// start at once. It looks first, at its ledger and at the catalogue: with nothing pending no privilege to create is needed.
import { fileURLToPath } from 'node:url'
import { sql } from 'drizzle-orm'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import { isSyncError, SyncError } from '../errors.ts'
import { readCatalog } from './catalog.ts'
import { attempt, type Database, type Executor, query, transaction, WriteError } from './database.ts'
import { readMissing } from './missing.ts'

export const migrationsFolder = fileURLToPath(new URL('../../drizzle', import.meta.url))
/** Any number will do, as long as no other part of the app locks the same one: "clerk-sy" in ASCII. */
const migrationLock = sql.raw('7163371136806975353')

/** An index on a table of millions of rows takes minutes, and so does waiting for another process that makes it. */
const migrationMsMax = 15 * 60_000

export type Migration = ReturnType<typeof readMigrationFiles>[number]

/**
 * Brings the database to the newest schema, and makes again what it has lost of it. Returns how many migrations it
 * applied or repeated. Throws `configuration` if the role may not, `transient` if the app holds the table, `contract` if
 * one fails.
 */
export async function migrate(
  database: Database,
  folder: string = migrationsFolder,
): Promise<{ applied: number }> {
  if (!(await hasPendingMigrations(database.db, folder))) return { applied: 0 }
  // What cannot be adopted is refused in words, before any statement fails of it.
  await readCatalog(database.db)
  try {
    return await transaction(database, (tx) => migrateWithin(tx, folder), migrationMsMax)
  } catch (error) {
    throw await migrationError(error, database.db)
  }
}

async function migrateWithin(tx: Executor, folder: string): Promise<{ applied: number }> {
  // The limits of a role are meant for an app's statements; the whole has one of its own. Before 17 one of them is unknown.
  await query(
    tx,
    sql`select set_config(name, '0', true) from pg_settings where name in ('statement_timeout', 'transaction_timeout')`,
  )
  await query(tx, sql`select pg_advisory_xact_lock(${migrationLock})`, migrationMsMax)
  // An ALTER that waits behind an app's transaction makes the whole app wait behind itself.
  await query(tx, sql`set local lock_timeout = '10s'`)
  const { pending, applied } = await readMigrations(tx, folder)
  const text = pending.flatMap((migration) => migration.sql).join()
  const lost = (await readMissing(tx)).filter(({ name }) => !text.includes(`"${name}"`))
  for (const migration of lost.length > 0 ? applied : []) {
    for (const statement of migration.sql) await repeat(tx, statement)
  }
  for (const migration of pending) {
    for (const statement of migration.sql) await query(tx, sql.raw(statement), migrationMsMax)
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
  const count = pending.length + (lost.length > 0 ? applied.length : 0)
  await requireAll(tx)
  // A column that has just come is empty in rows that an incremental pass does not look at.
  if (count > 0) await query(tx, sql`update clerk_sync.state set full_pass_due_at = now()`)
  return { applied: count }
}

/** Throws `configuration` where the schema in the code names what no migration makes: else each run would look for it. */
async function requireAll(tx: Executor): Promise<void> {
  const missing = await readMissing(tx)
  if (missing.length === 0) return
  const names = missing.map(({ what }) => what).join(', ')
  throw new SyncError('configuration', `no migration makes ${names}, which src/db/schema.ts names`, {
    hint: 'After a change of the schema: npm run db:generate, and look at the file that it writes. After a column of clerk_sync was dropped by hand: drop that table too, and it is made again.',
  })
}

/** There already, or gone already: duplicate column, table, object; undefined column, table, object. */
const doneCodes = /^(42701|42P07|42710|42703|42P01|42704)$/

/** Executes a statement of a migration that was applied before, of which something or nothing may still be there. */
async function repeat(tx: Executor, statement: string): Promise<void> {
  try {
    await attempt(tx, (part) => query(part, sql.raw(statement), migrationMsMax))
  } catch (error) {
    if (!isSyncError(error) || !doneCodes.test(String(error.facts.code))) throw error
  }
}

/** True if `migrate` would have something to do: a migration that was never applied, or whose work is gone. Reads only. */
export async function hasPendingMigrations(
  executor: Executor,
  folder: string = migrationsFolder,
): Promise<boolean> {
  const { pending } = await readMigrations(executor, folder)
  return pending.length > 0 || (await readMissing(executor)).length > 0
}

/** The migrations that were never applied and those that were, as the ledger of migrations has it. Reads only. */
export async function readMigrations(
  executor: Executor,
  folder: string,
): Promise<{ pending: Migration[]; applied: Migration[] }> {
  const migrations = readFiles(folder)
  const [known] = await query<{ exists: boolean }>(
    executor,
    sql`
      -- not to_regclass: after the wait for the lock its cache would still say that there is none
      select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = 'clerk_sync' and c.relname = 'migrations') as exists`,
  )
  if (known?.exists !== true) return { pending: migrations, applied: [] }
  const rows = await query<{ id: string }>(executor, sql`select id::text from clerk_sync.migrations`)
  const ids = new Set(rows.map((row) => row.id))
  const isApplied = (migration: Migration) => ids.has(String(migration.folderMillis))
  return {
    pending: migrations.filter((migration) => !isApplied(migration)),
    applied: migrations.filter(isApplied),
  }
}

function readFiles(folder: string): Migration[] {
  try {
    return readMigrationFiles({ migrationsFolder: folder })
  } catch (error) {
    throw new SyncError('configuration', 'the folder drizzle/ with the migrations is missing or incomplete', {
      hint: 'It belongs beside dist/ (in a checkout: beside src/). Copy it along, as the Dockerfile does.',
      cause: error,
      facts: { folder },
    })
  }
}

async function migrationError(error: unknown, executor: Executor): Promise<unknown> {
  if (isSyncError(error, 'configuration') && error.facts.code === '42501') return mayNotMigrate(error.facts)
  if (!(error instanceof WriteError)) return error
  if (error.kind === 'lock') {
    return new SyncError('transient', 'the migration waited too long for the users table', {
      hint: 'A transaction of the app holds it. Try again when that one has ended.',
    })
  }
  if (error.kind === 'timeout') {
    return new SyncError('transient', 'the migration was cancelled; nothing of it was kept', {
      hint: 'An administrator did it (pg_cancel_backend): no limit of time applies to a migration. Run it again.',
      facts: { code: error.code },
    })
  }
  return new SyncError('contract', 'a migration failed; nothing of it was kept', {
    hint: await hintOf(error, executor),
    facts: { code: error.code, constraint: error.constraint },
  })
}

/** The error of a role that lacks the rights for what is pending. */
export const mayNotMigrate = (facts: SyncError['facts'] = {}) =>
  new SyncError('configuration', 'migrations are pending and the database role may not apply them', {
    hint: 'Run `npm run db:migrate` once with a DATABASE_URL whose role owns the users table and may create a schema.',
    facts,
  })

/** How many ids of several rows are named. */
const duplicatesShown = 5

async function hintOf(error: WriteError, executor: Executor): Promise<string> {
  if (error.code !== '23505')
    return 'A rule or trigger of your schema refuses it; the log of Postgres has its words.'
  return (await describeDuplicates(executor).catch(() => undefined)) ?? duplicatesText([])
}

/** The ids that stand in several rows, in words; undefined if there are none. */
export async function describeDuplicates(executor: Executor): Promise<string | undefined> {
  const found = await query<Duplicate>(
    executor,
    sql`select clerk_id::text, count(*)::float8 as rows from users where clerk_id is not null
        group by clerk_id having count(*) > 1 order by count(*) desc, clerk_id limit ${duplicatesShown + 1}`,
  )
  return found.length === 0 ? undefined : duplicatesText(found)
}

interface Duplicate {
  readonly clerk_id: string
  readonly rows: number
}

function duplicatesText(found: readonly Duplicate[]): string {
  // What the app has put there instead of an id may be an address.
  const named = found.slice(0, duplicatesShown).map(({ clerk_id, rows }) => {
    const id = /^user_[A-Za-z0-9]+$/.test(clerk_id) ? clerk_id : '…'
    return `${id} (${rows} rows)`
  })
  const more = found.length > duplicatesShown ? ' and others' : ''
  return `A clerk_id must stand in one row, and these stand in several: ${named.join(', ')}${more}. Keep one row of each: ${duplicatesQuery}`
}

const duplicatesQuery =
  'select * from users where clerk_id in (select clerk_id from users group by clerk_id having count(*) > 1) order by clerk_id'
