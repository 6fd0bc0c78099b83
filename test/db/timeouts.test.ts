// No wait for Postgres is without a bound.
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Database, openDatabase, query, transaction } from '../../src/db/database.ts'
import { withPostgresTimeout } from '../../src/db/timeouts.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { startSilentProxy } from '../support/silent-proxy.ts'

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url, { connections: 1 })
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

const tooLate = { kind: 'transient', message: 'Postgres did not answer in time' }

test('what is answered in time is the answer, and its failure the failure', async () => {
  expect(await withPostgresTimeout(Promise.resolve(1), 60_000)).toBe(1)
  await expect(withPostgresTimeout(Promise.reject(new Error('no')), 60_000)).rejects.toThrow('no')
})

test('what is never answered is transient', async () => {
  await expect(withPostgresTimeout(new Promise(() => {}), 1)).rejects.toMatchObject(tooLate)
})

test('a transaction on a connection that has fallen silent ends, and the next one has another connection', async () => {
  const proxy = await startSilentProxy(testDatabase.url)
  const far = openDatabase(proxy.url, { connections: 2 })
  try {
    const late = transaction(
      far,
      async (tx) => {
        proxy.silence()
        await query(tx, sql`select 1`)
      },
      200,
    )
    await expect(late).rejects.toMatchObject(tooLate)
    expect(await transaction(far, (tx) => query(tx, sql`select 1 as one`))).toEqual([{ one: 1 }])
  } finally {
    await far.close(0)
    proxy.close()
  }
})

test('a process that falls asleep within its transaction loses it before its lease is anybody else’s', async () => {
  const settings = sql`select current_setting('transaction_isolation') as isolation,
    current_setting('idle_in_transaction_session_timeout') as asleep`
  expect(await transaction(database, (tx) => query(tx, settings))).toEqual([
    { isolation: 'read committed', asleep: '20s' },
  ])
  const [after] = await query<{ asleep: string }>(database.db, settings)
  expect(after?.asleep).toBe('0')
})
