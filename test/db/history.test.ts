// What the history says as a whole: the last success, and what is open since when.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { readCatalog, type TableCatalog } from '../../src/db/catalog.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { readLastSuccess, readOpenItems } from '../../src/db/history.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let created: TestDatabase
let database: Database
let catalog: TableCatalog
beforeAll(async () => {
  created = await createTestDatabase()
  database = openDatabase(created.url, { connections: 1 })
  catalog = await readCatalog(database.db)
})
afterAll(async () => {
  await database.close()
  await created.drop()
})
beforeEach(() => created.sql`delete from clerk_sync.runs`)

/** Runs one hour apart, the last of which ended just now. */
async function runs(...entries: { status: string; pass?: string; counts?: object }[]): Promise<number[]> {
  const ids: number[] = []
  for (const [index, { status, pass = 'full', counts = {} }] of entries.entries()) {
    const hours = entries.length - index
    const [row] = await created.sql<{ id: number }[]>`
      insert into clerk_sync.runs (pass, trigger, status, host, started_at, finished_at, counts)
      values (${pass}, 'cli', ${status}, 'h', now() - ${hours} * interval '1 hour',
        now() - ${hours - 1} * interval '1 hour', ${created.sql.json(counts as never)}) returning id::int`
    ids.push(row?.id ?? 0)
  }
  return ids
}
const open = async () =>
  (await readOpenItems(database.db, catalog)).map(({ what, count, ageSeconds }) => [
    what,
    count,
    Math.round(ageSeconds / 3600),
  ])

test('nothing is open before the first run and after a clean one', async () => {
  expect(await open()).toEqual([])
  expect(await readLastSuccess(database.db, catalog)).toBeUndefined()
  const [id] = await runs({ status: 'succeeded', counts: { withheld: 0 } })
  expect(await open()).toEqual([])
  expect(await readLastSuccess(database.db, catalog)).toMatchObject({
    runId: id,
    pass: 'full',
    ageSeconds: expect.closeTo(0, 0),
  })
})

test('what stays open counts from the first run of the unbroken series', async () => {
  const withheld = { status: 'withheld', counts: { withheld: 3 } }
  const clean = { status: 'succeeded', counts: {} }
  await runs(withheld, clean, withheld, { status: 'withheld', counts: { withheld: 5 } })
  expect(await open()).toEqual([['withheld', 5, 2]])
})

test('failed runs are open until one comes to its end, and hide nothing that was open before', async () => {
  const partial = { status: 'partial', counts: { rejected: 2, pending: 1 } }
  await runs(partial, { status: 'failed' }, { status: 'refused' }, { status: 'abandoned' })
  expect(await open()).toEqual([
    ['failing', 3, 3],
    ['rejected', 2, 4],
    ['pending', 1, 4],
  ])
  await runs({ status: 'succeeded' })
  expect(await open()).toEqual([])
})

test('a run for a single user neither opens nor closes anything', async () => {
  await runs({ status: 'withheld', counts: { withheld: 1 } }, { status: 'succeeded', pass: 'user' })
  expect(await open()).toEqual([['withheld', 1, 2]])
  expect(await readLastSuccess(database.db, catalog)).toBeUndefined()
})
