// A database of its own for each test file, copied from the migrated template. The rule: a test looks at rows through
// connections of its own, never through the ones it tests.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { inject } from 'vitest'
import { allowMigrating, isMigrating } from './minimal-role.ts'
import { expectCleanSessions, warmPool } from './pgbouncer.ts'

/** A database that only one test file knows. */
export interface TestDatabase {
  /** For the code under test: through the pooler or as the role that the environment has. */
  readonly url: string
  /**
   * The test's own look at the world, as a superuser and past any pooler: one connection, so a transaction on it must
   * not wait for a query beside it.
   */
  readonly sql: postgres.Sql
  /** One more connection, for transactions that overlap. Closed by `drop`. */
  connect(): postgres.Sql
  /** Ends every connection, whoever holds it, and removes the database. */
  drop(): Promise<void>
}

/** Makes a copy of the template, or an empty database. The caller drops it. */
export async function createTestDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const prefix = inject('databasePrefix')
  const name = `${prefix}${randomBytes(6).toString('hex')}`
  const template = options.empty ? 'template0' : `${prefix}template`
  // The default strategy has no checkpoint in it, which on a server with fsync costs more than the copy itself.
  await asAdmin((admin) => admin`create database ${admin(name)} template ${admin(template)}`)
  const inDatabase = (url: string) => Object.assign(new URL(url), { pathname: name }).href
  const ownUrl = inDatabase(inject('postgresUrl'))
  const url = inDatabase(inject('codeUrls')[options.empty ? 'empty' : 'migrated'])
  const clients: postgres.Sql[] = []
  const connect = () => {
    const client = postgres(ownUrl, { max: 1, prepare: false, onnotice: () => {} })
    clients.push(client)
    return client
  }
  const sql = connect()
  if (options.empty && isMigrating(url)) await allowMigrating(sql)
  if (inject('isPooled')) await warmPool(url)
  return {
    url,
    sql,
    connect,
    drop: async () => {
      await Promise.all(clients.map((client) => client !== sql && client.end({ timeout: 1 })))
      try {
        if (inject('isPooled')) await expectCleanSessions(url, sql)
      } finally {
        await sql.end({ timeout: 1 })
        await asAdmin((admin) => admin`drop database if exists ${admin(name)} with (force)`)
      }
    },
  }
}

async function asAdmin(run: (admin: postgres.Sql) => PromiseLike<unknown>): Promise<void> {
  const admin = postgres(inject('postgresUrl'), {
    max: 1,
    prepare: false,
    fetch_types: false,
    onnotice: () => {},
  })
  try {
    await run(admin)
  } finally {
    await admin.end({ timeout: 1 })
  }
}

/** How many rows of `users` were ever inserted, updated and deleted, rolled back or not. */
export interface TableStatistics {
  readonly inserted: number
  readonly updated: number
  readonly deleted: number
}

/**
 * Reads what Postgres counted for `users`. Backends hand in their counts when they end, before they leave the list of
 * sessions, so this waits for that list to be empty: close the database under test first, or it throws after 5 seconds.
 */
export async function tableStatistics(sql: postgres.Sql): Promise<TableStatistics> {
  const deadline = Date.now() + 5_000
  // Our own backend has not ended; without this it keeps its counts for up to a minute.
  await sql`select pg_stat_force_next_flush()`
  // A pooler's never end by themselves.
  if (inject('isPooled')) await endIdleSessions(sql)
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

async function endIdleSessions(sql: postgres.Sql): Promise<void> {
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and state = 'idle'`
}
