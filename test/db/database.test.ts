// The pool itself: what becomes of it when Postgres ends its connections.
import { sql } from 'drizzle-orm'
import { expect, test } from 'vitest'
import { openDatabase, query, transaction } from '../../src/db/database.ts'
import { createTestDatabase } from '../support/database.ts'
import { blocked } from '../support/endpoint.ts'

test('a pool that lost a connection under a statement is not waited for when it is closed', async (context) => {
  const database = await createTestDatabase()
  context.onTestFinished(() => database.drop())
  const pool = openDatabase(database.url)
  const holder = database.connect()
  await holder.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(1)`
    const waiting = transaction(pool, (tx) => query(tx, sql`select pg_advisory_xact_lock(1)`))
    const failed = expect(waiting).rejects.toMatchObject({ kind: 'transient' })
    await blocked(database.sql, 1)
    await database.sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'clerk-sync'`
    await failed
  })
  const from = performance.now()
  await pool.close()
  expect(performance.now() - from).toBeLessThan(2000)
})
