// That the tests beside this one ran on what their project is named for.
import { expect, onTestFinished, test } from 'vitest'
import { createTestDatabase } from '../support/database.ts'

test('the server is a PostgreSQL 15, and the code’s own migrations were applied there', async () => {
  const { sql, drop } = await createTestDatabase()
  onTestFinished(drop)
  const [server] = await sql`select current_setting('server_version_num')::int / 10000 as version`
  expect(server).toEqual({ version: 15 })
  expect(await sql`select from clerk_sync.migrations`).not.toHaveLength(0)
})
