// Rows that are counted and sampled, and the deletion that a webhook asks for.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readCatalog, type TableCatalog } from '../../src/db/catalog.ts'
import { type Database, openDatabase, transaction } from '../../src/db/database.ts'
import { deleteUser } from '../../src/db/tombstones.ts'
import { countRows, countRowsOf, readSampleIds } from '../../src/db/users.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let testDatabase: TestDatabase
let database: Database
let catalog: TableCatalog

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url)
  catalog = await readCatalog(database.db)
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})
beforeEach(async () => {
  await testDatabase.sql`truncate users, clerk_sync.tombstones`
})

const insert = (...clerkIds: string[]) =>
  testDatabase.sql`insert into users (clerk_id, name, image_url)
    select clerk_id, '', '' from unnest(${clerkIds}::text[]) as t(clerk_id)`
const ids = async () => {
  const rows = await testDatabase.sql<{ id: string }[]>`select clerk_id as id from users order by 1`
  return rows.map((row) => row.id)
}

describe('rows', () => {
  // Each is no id of Clerk's for one reason alone.
  const foreign = ['user_', 'org_1', 'my user_1', 'user_1 ', 'user_a-b', '']

  test('are counted if they are ours', async () => {
    expect(await countRows(database.db, catalog)).toBe(0)
    await insert('user_1', 'user_aZ9', ...foreign)
    expect(await countRows(database.db, catalog)).toBe(2)
  })

  test('of a list are counted by their ids', async () => {
    await insert('user_1', 'user_2', 'user_3')
    expect(await countRowsOf(database.db, ['user_1', 'user_3', 'user_4'], catalog)).toBe(2)
    expect(await countRowsOf(database.db, [], catalog)).toBe(0)
  })

  test('of ours alone are sampled, up to the limit, spread, and the same at every look', async () => {
    const ours = Array.from({ length: 300 }, (_, index) => `user_${1000 + index}`)
    await insert(...ours, ...foreign)
    const sample = await readSampleIds(database.db, 30, catalog)
    expect(sample).toHaveLength(30)
    expect(ours).toEqual(expect.arrayContaining(sample))
    // Of each hundred some.
    expect(new Set(sample.map((id) => id.slice(0, 7))).size).toBe(3)
    expect(await readSampleIds(database.db, 30, catalog)).toEqual(sample)
    expect((await readSampleIds(database.db, 1000, catalog)).sort()).toEqual(ours)
  })
})

describe('a deletion that Clerk reports', () => {
  const tombstones = () => testDatabase.sql`
    select clerk_id, run_id::int, deleted_at > now() - interval '1 minute' as is_new from clerk_sync.tombstones`

  test('takes that row alone, says whether there was one, and leaves a tombstone in any case', async () => {
    await insert('user_a', 'user_b', 'user_c')
    expect(await deleteUser(database.db, 'user_b')).toBe(true)
    expect(await deleteUser(database.db, 'user_d')).toBe(false)
    expect(await ids()).toEqual(['user_a', 'user_c'])
    expect(await tombstones()).toEqual([
      { clerk_id: 'user_b', run_id: null, is_new: true },
      { clerk_id: 'user_d', run_id: null, is_new: true },
    ])
  })

  test('renews the tombstone, and makes it Clerk’s own word instead of a run’s', async () => {
    await testDatabase.sql`
      insert into clerk_sync.tombstones (clerk_id, deleted_at, run_id) values ('user_a', '2020-01-01', 7)`
    expect(await deleteUser(database.db, 'user_a')).toBe(false)
    expect(await tombstones()).toEqual([{ clerk_id: 'user_a', run_id: null, is_new: true }])
  })

  test('is stamped with its own time, however long its transaction had waited', async () => {
    const [stone] = await transaction(database, async (tx) => {
      // now() stands still from the transaction's first statement on; the clock does not.
      await tx.execute(`do $$ begin while clock_timestamp() < now() + interval '5 ms' loop end loop; end $$`)
      await deleteUser(tx, 'user_a')
      return tx.execute<{ late: boolean }>(
        `select deleted_at >= now() + interval '4 ms' as late from clerk_sync.tombstones`,
      )
    })
    expect(stone).toEqual({ late: true })
  })
})
