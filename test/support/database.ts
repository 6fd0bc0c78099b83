// A database of its own for each test file, copied from the migrated template. The rule: a test looks at rows through
// connections of its own, never through the ones it tests.
import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { inject } from 'vitest'
import { readTableStatistics, type TableStatistics } from '../../src/dev/testkit/table-statistics.ts'
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

/** `readTableStatistics`, also where a pooler stands between: the sessions that it keeps would never end by themselves. */
export async function tableStatistics(sql: postgres.Sql): Promise<TableStatistics> {
  if (inject('isPooled')) await endIdleSessions(sql)
  return readTableStatistics(sql)
}

async function endIdleSessions(sql: postgres.Sql): Promise<void> {
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and state = 'idle'`
}
