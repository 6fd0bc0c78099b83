// That the pooler is one in transaction mode: what code that leans on a session would meet there. The rule: each test
// shows a mistake that the tests beside this one would find.
import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readDatabaseUrl } from '../../src/config/database-url.ts'
import { openDatabase, query, transaction } from '../../src/db/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
const clients: postgres.Sql[] = []

beforeEach(async () => {
  database = await createTestDatabase()
})
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()))
})

const connect = (options: { prepare?: boolean } = {}) => {
  const client = postgres(database.url, { max: 1, prepare: false, onnotice: () => {}, ...options })
  clients.push(client)
  return client
}

test('no transaction of the code’s meets the server connection of the one before', async () => {
  const pool = openDatabase(database.url, { connections: 1 })
  const met: unknown[] = []
  for (let count = 0; count < 12; count += 1) {
    met.push(
      await transaction(pool, async (tx) => {
        const rows = await tx.execute<{ pid: number }>(sql`select pg_backend_pid() as pid`)
        return rows[0]?.pid
      }),
    )
  }
  await pool.close()
  await database.drop()
  for (const [index, pid] of met.entries()) expect(pid).not.toBe(met[index - 1])
})

test('a named prepared statement is unknown in the next transaction, which fails, and is found', async () => {
  const client = connect({ prepare: true })
  const ask = (value: number) => client.begin((tx) => tx`select ${value}::int as one`)
  await ask(1)
  // The driver tries such a statement again, which inside a transaction is too late.
  await expect(ask(2)).rejects.toMatchObject({ code: '26000' })
  await expect(database.drop()).rejects.toThrow('the prepared statement select')
})

test('a setting of the session stays behind for whoever comes next, and is found', async () => {
  await connect()`set lock_timeout = '7s'`
  const met = []
  const other = connect()
  for (let count = 0; count < 6; count += 1) met.push((await other`show lock_timeout`)[0]?.lock_timeout)
  expect(new Set(met)).toEqual(new Set(['0', '7s']))
  await expect(database.drop()).rejects.toThrow('lock_timeout = 7000')
})

test('an advisory lock of the session is not the client’s to give back, and is found', async () => {
  const client = connect()
  await client`select pg_advisory_lock(1)`
  expect(await client`select pg_advisory_unlock(1) as unlocked`).toEqual([{ unlocked: false }])
  await expect(database.drop()).rejects.toThrow('an advisory lock')
})

test('a parameter in DATABASE_URL that the pooler does not take is a matter of configuration', async () => {
  const found = readDatabaseUrl(`${database.url}?schema=app`, '/')
  const pool = openDatabase('address' in found ? found.address.url : '')
  const error = await query(pool.db, sql`select 1`).catch((error: unknown) => error)
  await pool.close()
  await database.drop()
  expect(error).toMatchObject({ kind: 'configuration', hint: expect.stringContaining('search_path') })
})

test('a pooler that offers no encryption is spoken to without, and says what else it does not take', async () => {
  const answerTo = async (change: { search?: string; password?: string; pathname?: string }) => {
    const read = readDatabaseUrl(Object.assign(new URL(database.url), change).href, import.meta.dirname)
    if (!('address' in read)) throw new Error(read.problem)
    const pool = openDatabase(read.address.url, { connections: 1 })
    const answer = await query(pool.db, sql`select 1 as one`).catch((error) => error)
    await pool.close(0)
    return answer
  }
  expect([...(await answerTo({}))]).toEqual([{ one: 1 }])
  expect(await answerTo({ search: 'sslmode=require' })).toMatchObject({
    kind: 'configuration',
    message: 'DATABASE_URL asks for encryption, and the server offers none',
  })
  expect(await answerTo({ password: 'wrong' })).toMatchObject({
    kind: 'configuration',
    hint: 'Check user, password and database name in DATABASE_URL.',
  })
  expect(await answerTo({ pathname: 'nothing_here' })).toMatchObject({
    kind: 'configuration',
    hint: 'Check user, password and database name in DATABASE_URL.',
  })
  await database.drop()
})
