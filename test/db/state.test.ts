// The one row that says which instance the table belongs to and where the passes stand.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readCatalog, type TableCatalog } from '../../src/db/catalog.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { endHold, readHold } from '../../src/db/hold.ts'
import { bindInstance, readState, saveCheckpoint } from '../../src/db/state.ts'
import { liftTombstones, wereDeletedByRuns } from '../../src/db/tombstones.ts'
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
  await testDatabase.sql`truncate clerk_sync.state`
})

const read = () => readState(database.db, catalog)
const bind = (instanceId: string, replaced?: string) => bindInstance(database.db, instanceId, replaced)
const watermark = Date.parse('2026-03-01T12:00:00.123Z')
const progress = { watermark, difference: { rejected: [] }, fullPassDueInMs: null }
const table = { tableIdentity: expect.stringMatching(/^public\.users \d+ \d+$/), isSameTable: false }
const fresh = { instanceId: 'ins_b', watermark: null, difference: null, isFullPassDue: false, ...table }
/** In how many ms a full pass is due. */
const dueIn = async () => {
  const [row] = await testDatabase.sql<{ ms: number | null }[]>`
    select (extract(epoch from full_pass_due_at - now()) * 1000)::float8 as ms from clerk_sync.state`
  return row?.ms
}

/** The reason of the hold, and whether it began just now. */
const readReason = async () => {
  const [state] = await testDatabase.sql<{ hold: string | null }[]>`
    select deletion_hold as hold from clerk_sync.state`
  expect(state?.hold ?? undefined).toEqual(await readHold(database.db, catalog))
  return state?.hold?.replace(/ \d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}Z$/, ' now') ?? null
}
const insertRow = (clerkId: string) =>
  testDatabase.sql`insert into users (clerk_id, name, image_url) values (${clerkId}, '', '')`

describe('a hold on deletions', () => {
  beforeEach(async () => {
    await testDatabase.sql`truncate users, clerk_sync.tombstones`
  })

  test('begins when a table with rows of ours is bound, and not with one that has none', async () => {
    expect(await readHold(database.db, catalog)).toBeUndefined()
    await insertRow('org_1')
    await bind('ins_a')
    expect(await readReason()).toBeNull()
    await insertRow('user_1')
    expect(await bind('ins_a')).toBe('ins_a')
    expect(await readReason()).toBeNull()
    await testDatabase.sql`truncate clerk_sync.state`
    await bind('ins_a')
    expect(await readReason()).toBe('first-look now')
  })

  test('begins when the table follows another instance, and goes where it has no rows', async () => {
    await bind('ins_a')
    await insertRow('user_1')
    await bind('ins_b', 'ins_a')
    expect(await readReason()).toBe('first-look now')
    await testDatabase.sql`truncate users`
    await bind('ins_a', 'ins_b')
    expect(await readReason()).toBeNull()
  })

  test('ends if it is the one that is meant, and another one stays', async () => {
    await insertRow('user_1')
    await bind('ins_a')
    const first = (await readHold(database.db, catalog)) ?? ''
    await bind('ins_b', 'ins_a')
    const second = (await readHold(database.db, catalog)) ?? ''
    await endHold(database.db, first)
    expect(await readHold(database.db, catalog)).toBe(second)
    await endHold(database.db, second)
    expect(await readHold(database.db, catalog)).toBeUndefined()
  })

  test.each([
    ['a run’s within the grace and an hour', 'returned now', 7, 69],
    ['a run’s of before', null, 7, 71],
    ['a webhook’s', null, null, 20],
  ])('by the tombstone of a user who is back, %s: %s', async (_what, reason, runId, minutes) => {
    await bind('ins_a')
    const tombstonesBlockSince = Date.now() - 10 * 60_000
    await testDatabase.sql`insert into clerk_sync.tombstones (clerk_id, run_id, deleted_at) values
      ('user_1', ${runId}, now() - ${minutes} * interval '1 minute'), ('user_2', 7, now() - interval '20 minutes')`
    const holds = reason !== null
    expect(await wereDeletedByRuns(database.db, ['user_1', 'user_3'], tombstonesBlockSince, catalog)).toBe(
      holds,
    )
    await liftTombstones(database.db, ['user_1', 'user_3'], tombstonesBlockSince)
    expect(await readReason()).toBe(reason)
    expect(await testDatabase.sql`select clerk_id from clerk_sync.tombstones`).toEqual([
      { clerk_id: 'user_2' },
    ])
  })
})

describe('an instance', () => {
  test('is bound once: the first one, and another one learns which', async () => {
    expect(await read()).toBeUndefined()
    expect(await bind('ins_a')).toBe('ins_a')
    expect(await bind('ins_a')).toBe('ins_a')
    expect(await bind('ins_b')).toBe('ins_a')
    expect(await read()).toMatchObject({ instanceId: 'ins_a' })
  })

  test('is replaced by name, and what was known of the old one goes', async () => {
    await bind('ins_a')
    await saveCheckpoint(database.db, 'ins_a', { ...progress, fullPassDueInMs: 0 }, null)
    expect(await bind('ins_b', 'ins_a')).toBe('ins_b')
    expect(await read()).toEqual(fresh)
    expect(await dueIn()).toBeNull()
  })

  test('is not replaced where another one is named', async () => {
    await bind('ins_a')
    await saveCheckpoint(database.db, 'ins_a', progress, null)
    expect(await bind('ins_b', 'ins_c')).toBe('ins_a')
    expect(await read()).toMatchObject({ instanceId: 'ins_a', watermark })
  })

  test('that is bound already keeps what is known, though it is named as replaced', async () => {
    await bind('ins_a')
    await saveCheckpoint(database.db, 'ins_a', progress, null)
    expect(await bind('ins_a', 'ins_a')).toBe('ins_a')
    expect(await read()).toMatchObject({ watermark, difference: progress.difference })
  })
})

describe('progress', () => {
  beforeEach(() => bind('ins_b'))

  test('reads back as it was saved, to the millisecond, and none at all as none', async () => {
    expect(await read()).toEqual(fresh)
    await saveCheckpoint(database.db, 'ins_b', progress, null)
    expect(await read()).toEqual({ ...fresh, watermark, difference: { rejected: [] } })
    await saveCheckpoint(database.db, 'ins_b', { ...progress, watermark: null }, null)
    expect((await read())?.watermark).toBeNull()
  })

  test('of another instance is not saved: it was replaced meanwhile', async () => {
    await saveCheckpoint(database.db, 'ins_a', progress, null)
    expect(await read()).toEqual(fresh)
  })

  test('makes a full pass due once its time has come, and not before', async () => {
    await saveCheckpoint(database.db, 'ins_b', { ...progress, fullPassDueInMs: 60_000 }, null)
    expect((await read())?.isFullPassDue).toBe(false)
    expect(await dueIn()).toBeGreaterThan(30_000)
    expect(await dueIn()).toBeLessThanOrEqual(60_000)
    await saveCheckpoint(database.db, 'ins_b', { ...progress, fullPassDueInMs: 0 }, null)
    expect((await read())?.isFullPassDue).toBe(true)
  })

  test('that says nothing of a full pass leaves it due as it was; that says no, ends it', async () => {
    await saveCheckpoint(database.db, 'ins_b', { ...progress, fullPassDueInMs: 0 }, null)
    await saveCheckpoint(database.db, 'ins_b', { ...progress, fullPassDueInMs: undefined }, null)
    expect((await read())?.isFullPassDue).toBe(true)
    await saveCheckpoint(database.db, 'ins_b', progress, null)
    expect((await read())?.isFullPassDue).toBe(false)
  })

  test('makes a full pass due within a day, and at once where a clock was ahead', async () => {
    await saveCheckpoint(database.db, 'ins_b', { ...progress, fullPassDueInMs: 400 * 86_400_000 }, null)
    expect((await read())?.isFullPassDue).toBe(false)
    expect(await dueIn()).toBeLessThanOrEqual(86_400_000)
    await testDatabase.sql`update clerk_sync.state set full_pass_due_at = now() + interval '26 hours'`
    expect((await read())?.isFullPassDue).toBe(true)
  })
})

describe('the table that progress speaks of', () => {
  const isSame = async () => (await read())?.isSameTable
  const save = async () => {
    await bind('ins_b')
    await saveCheckpoint(database.db, 'ins_b', progress, (await read())?.tableIdentity ?? null)
    expect(await isSame()).toBe(true)
  }
  const run = (statements: string) => testDatabase.sql.unsafe(statements)
  // Its owner and its rights are the old table's, as of an app that makes its own table anew.
  const makeCopy = `create table copy (like users including all)`

  test('is the same after writes, an added column, an index and a plain vacuum', async () => {
    await save()
    await run(`insert into users (clerk_id, name, image_url) values ('user_a', '', '');
      alter table users add column plan text; create index by_name on users (name); delete from users`)
    await run('vacuum users')
    await run('drop index by_name; alter table users drop column plan')
    expect(await isSame()).toBe(true)
  })

  test.each([
    ['truncated', 'truncate users', 'select'],
    [
      'in another schema',
      'create schema other; alter table users set schema other',
      'alter table other.users set schema public; drop schema other',
    ],
    [
      'another one of that name',
      `${makeCopy}; alter table users rename to old; alter table copy rename to users`,
      'drop table users; alter table old rename to users',
    ],
  ])('is not the same when it is %s', async (_says, change, undo) => {
    await save()
    await run(change)
    expect(await isSame()).toBe(false)
    await run(undo)
  })

  test('is unknown to a state of an earlier release', async () => {
    await save()
    await run('update clerk_sync.state set table_identity = null')
    expect(await isSame()).toBe(false)
  })
})
