// What Postgres, its poolers and the way there can refuse, and what an operator is told of it: whether waiting helps, and
// the way out.
import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Database, openDatabase, query, transaction } from '../../src/db/database.ts'
import type { SyncError } from '../../src/errors.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { startRefusing } from '../support/pooler-that-refuses.ts'

let testDatabase: TestDatabase
const roles: string[] = []

beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(async () => {
  for (const role of roles) {
    await testDatabase.sql.unsafe(`drop owned by ${role}`)
    await testDatabase.sql.unsafe(`drop role ${role}`)
  }
  await testDatabase.drop()
})

async function withPool<T>(url: string, use: (database: Database) => Promise<T>): Promise<T> {
  const pool = openDatabase(url, { connections: 1 })
  try {
    return await use(pool)
  } finally {
    await pool.close(0)
  }
}

/** What a statement fails with at that address. */
const failureAt = (url: string, statement = 'select 1') =>
  withPool(url, (pool) =>
    query(pool.db, sql.raw(statement)).then(
      () => undefined,
      (error: SyncError) => error,
    ),
  )

const withParameter = (url: string, parameter: string) => `${url}?${parameter}`

/** Past any pooler, as a login of its own that has all rights to `users` and these settings. */
async function roleWith(settings: Readonly<Record<string, string>>): Promise<string> {
  const { sql: admin } = testDatabase
  const name = `clerk_sync_test_${randomBytes(6).toString('hex')}`
  roles.push(name)
  await admin.unsafe(`create role ${name} login password 'none'`)
  await admin.unsafe(`grant all on users to ${name}`)
  for (const [setting, value] of Object.entries(settings)) {
    await admin.unsafe(`alter role ${name} set ${setting} = '${value}'`)
  }
  const { host, port, database } = admin.options
  return `postgres://${name}:none@${host[0]}:${port[0]}/${database}`
}

describe('a pooler', () => {
  test.each([
    [
      'that is Neon’s and takes no schema',
      {
        S: 'ERROR',
        C: '08P01',
        M: 'unsupported startup parameter in options: search_path. Please use unpooled connection or remove this parameter from the startup package. More details: https://example.com',
      },
      'configuration',
      'Leave schema (search_path) out of it',
    ],
    [
      'that is Neon’s and takes no option',
      { S: 'ERROR', C: '08P01', M: 'unsupported startup parameter in options: lock_timeout' },
      'configuration',
      'Leave lock_timeout out of it',
    ],
    [
      'that is PgBouncer and takes no option',
      { S: 'FATAL', C: '08P01', M: 'unsupported startup parameter: work_mem' },
      'configuration',
      'Leave work_mem out of it',
    ],
    [
      'that is Supabase’s and does not know the project',
      { S: 'FATAL', V: 'FATAL', C: 'XX000', M: 'Tenant or user not found' },
      'configuration',
      'name the project',
    ],
    [
      'that is Neon’s and is not told of an endpoint',
      { S: 'ERROR', C: 'XX000', M: 'Endpoint ID is not specified. Either please upgrade the client library' },
      'configuration',
      'name the project',
    ],
    [
      'that does not know the database',
      { S: 'FATAL', C: '08P01', M: 'no such database: app' },
      'configuration',
      'Check user, password and database name',
    ],
    [
      'that insists on encryption',
      { S: 'FATAL', C: '08P01', M: 'SSL required' },
      'configuration',
      'sslmode=require',
    ],
    ['that is full', { S: 'FATAL', C: '08P01', M: 'no more connections allowed' }, 'transient', 'is up'],
    ['that has lost its server', { S: 'FATAL', C: '08P01', M: 'server conn crashed?' }, 'transient', 'is up'],
    [
      'that fails in a way of its own',
      { S: 'ERROR', C: 'XX000', M: 'Control plane request failed' },
      'transient',
      'is up',
    ],
  ])('%s is told by its words', async (_says, fields, kind, hint) => {
    const refusing = await startRefusing(fields)
    const failure = await failureAt(refusing.url)
    await refusing.stop()
    expect(failure).toMatchObject({ kind, facts: { code: fields.C } })
    expect(failure?.hint).toContain(hint)
    expect(JSON.stringify(failure)).not.toContain('https://')
  })
})

describe('Postgres', () => {
  test('that takes no writes is a matter of configuration where it is the primary', async () => {
    const url = await roleWith({ default_transaction_read_only: 'on' })
    const write = `update users set name = ''`
    const failure = await failureAt(url, write)
    expect(failure).toMatchObject({ kind: 'configuration', facts: { code: '25006' } })
    expect(failure?.hint).toContain('default_transaction_read_only = off')
    const inTransaction = withPool(url, (pool) => transaction(pool, (tx) => query(tx, sql.raw(write))))
    await expect(inTransaction).rejects.toMatchObject({ kind: 'configuration' })
  })

  test('whose transaction_timeout ends a transaction names that setting', async (context) => {
    const known = await testDatabase.sql`select from pg_settings where name = 'transaction_timeout'`
    if (known.length === 0) return context.skip('before 17 there is none')
    const url = await roleWith({ transaction_timeout: '200ms' })
    const failing = withPool(url, (pool) => transaction(pool, (tx) => query(tx, sql`select pg_sleep(5)`)))
    await expect(failing).rejects.toMatchObject({
      kind: 'configuration',
      hint: expect.stringContaining('set transaction_timeout = 0'),
    })
  })

  test('whose transaction_timeout ends one of several connections is asked on another', async (context) => {
    const known = await testDatabase.sql`select from pg_settings where name = 'transaction_timeout'`
    if (known.length === 0) return context.skip('before 17 there is none')
    const pool = openDatabase(await roleWith({ transaction_timeout: '1s' }), { connections: 2 })
    context.onTestFinished(() => pool.close(0))
    const sleeping = transaction(pool, (tx) => query(tx, sql`select pg_sleep(5)`))
    const failed = expect(sleeping).rejects.toMatchObject({ kind: 'configuration', facts: { code: '25P04' } })
    await query(pool.db, sql`select 1`)
    await failed
  })

  test('that offers no encryption where DATABASE_URL asks for it is not waited for', async () => {
    const { host, port, database } = testDatabase.sql.options
    const url = `postgres://app:pw@${host[0]}:${port[0]}/${database}?sslmode=require`
    expect(await failureAt(url)).toMatchObject({
      kind: 'configuration',
      message: expect.stringContaining('offers none'),
    })
  })

  test('that does not take a parameter names it', async () => {
    const url = await roleWith({})
    const failure = await failureAt(withParameter(url, 'work_mem=much'))
    expect(failure).toMatchObject({ kind: 'configuration', facts: { code: '22023' } })
    expect(failure?.hint).toContain('work_mem')
  })

  test.each([
    ['a role that is not there', (url: URL) => Object.assign(url, { username: 'nobody_here' })],
    ['a database that is not there', (url: URL) => Object.assign(url, { pathname: 'nothing_here' })],
    ['a wrong password', (url: URL) => Object.assign(url, { password: 'wrong' })],
  ])('says what to check of %s', async (_says, change) => {
    const failure = await failureAt(change(new URL(await roleWith({}))).href)
    expect(failure).toMatchObject({
      kind: 'configuration',
      hint: 'Check user, password and database name in DATABASE_URL.',
    })
  })

  test('is quoted where nobody has foreseen its error', async () => {
    const failure = await failureAt(testDatabase.url, 'select nonsense from users')
    expect(failure).toMatchObject({
      kind: 'contract',
      message: 'Postgres refused a statement: column "nonsense" does not exist',
      facts: { code: '42703' },
    })
  })

  test('is not quoted where its words may hold a value', async () => {
    const quoted = await failureAt(testDatabase.url, `select * from "ada@example.com"`)
    expect(quoted?.message).toBe('Postgres refused a statement: relation "…" does not exist')
    await testDatabase.sql.unsafe(`
      create function leak() returns void language plpgsql as
        $$ begin raise exception 'no to Ada' using errcode = '42P01'; end $$;
      create function stumble() returns void language plpgsql as
        $$ begin execute 'select "Ada" from users'; end $$`)
    for (const name of ['leak', 'stumble']) {
      const failure = await failureAt(testDatabase.url, `select ${name}()`)
      expect(failure).toMatchObject({
        kind: 'contract',
        message: 'Postgres refused a statement',
        hint: expect.stringContaining('A function or trigger of your schema raised it'),
      })
    }
  })

  test('tells of a constraint, a column and a table only what can be a name', async () => {
    const raise = (code: string) => `do $$ begin raise exception 'no' using errcode = '${code}',
      constraint = 'ada@example.com', column = 'Ada Example', table = 'ada@example.com'; end $$`
    expect(await failureAt(testDatabase.url, raise('23514'))).toMatchObject({
      kind: 'row',
      constraint: '23514',
    })
    const failure = await failureAt(testDatabase.url, raise('42P01'))
    expect(failure?.facts).toEqual({ code: '42P01', routine: 'exec_stmt_raise' })
  })
})
