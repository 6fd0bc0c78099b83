// The one row that says which instance the table belongs to and where the passes stand.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { readShape, type Shape } from '../../src/db/shape.ts'
import { bindInstance, readState, saveProgress } from '../../src/db/state.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let testDatabase: TestDatabase
let database: Database
let shape: Shape

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url)
  shape = await readShape(database.db)
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})
beforeEach(async () => {
  await testDatabase.sql`truncate clerk_sync.state`
})

const read = () => readState(database.db, shape)
const bind = (instanceId: string, replaced?: string) => bindInstance(database.db, instanceId, replaced)
const watermark = Date.parse('2026-03-01T12:00:00.123Z')
const progress = { watermark, difference: { rejected: [] }, fullPassDueInMs: null }
const fresh = { instanceId: 'ins_b', watermark: null, difference: null, isFullPassDue: false }
/** In how many ms a full pass is due. */
const dueIn = async () => {
  const [row] = await testDatabase.sql<{ ms: number | null }[]>`
    select (extract(epoch from full_pass_due_at - now()) * 1000)::float8 as ms from clerk_sync.state`
  return row?.ms
}

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
    await saveProgress(database.db, 'ins_a', { ...progress, fullPassDueInMs: 0 })
    expect(await bind('ins_b', 'ins_a')).toBe('ins_b')
    expect(await read()).toEqual(fresh)
    expect(await dueIn()).toBeNull()
  })

  test('is not replaced where another one is named', async () => {
    await bind('ins_a')
    await saveProgress(database.db, 'ins_a', progress)
    expect(await bind('ins_b', 'ins_c')).toBe('ins_a')
    expect(await read()).toMatchObject({ instanceId: 'ins_a', watermark })
  })

  test('that is bound already keeps what is known, though it is named as replaced', async () => {
    await bind('ins_a')
    await saveProgress(database.db, 'ins_a', progress)
    expect(await bind('ins_a', 'ins_a')).toBe('ins_a')
    expect(await read()).toMatchObject({ watermark, difference: progress.difference })
  })
})

describe('progress', () => {
  beforeEach(() => bind('ins_b'))

  test('reads back as it was saved, to the millisecond, and none at all as none', async () => {
    expect(await read()).toEqual(fresh)
    await saveProgress(database.db, 'ins_b', progress)
    expect(await read()).toEqual({ ...fresh, watermark, difference: { rejected: [] } })
    await saveProgress(database.db, 'ins_b', { ...progress, watermark: null })
    expect((await read())?.watermark).toBeNull()
  })

  test('of another instance is not saved: it was replaced meanwhile', async () => {
    await saveProgress(database.db, 'ins_a', progress)
    expect(await read()).toEqual(fresh)
  })

  test('makes a full pass due once its time has come, and not before', async () => {
    await saveProgress(database.db, 'ins_b', { ...progress, fullPassDueInMs: 60_000 })
    expect((await read())?.isFullPassDue).toBe(false)
    expect(await dueIn()).toBeGreaterThan(30_000)
    expect(await dueIn()).toBeLessThanOrEqual(60_000)
    await saveProgress(database.db, 'ins_b', { ...progress, fullPassDueInMs: 0 })
    expect((await read())?.isFullPassDue).toBe(true)
  })

  test('that says nothing of a full pass leaves it due as it was; that says no, ends it', async () => {
    await saveProgress(database.db, 'ins_b', { ...progress, fullPassDueInMs: 0 })
    await saveProgress(database.db, 'ins_b', { ...progress, fullPassDueInMs: undefined })
    expect((await read())?.isFullPassDue).toBe(true)
    await saveProgress(database.db, 'ins_b', progress)
    expect((await read())?.isFullPassDue).toBe(false)
  })

  test('makes a full pass due within a day, and at once where a clock was ahead', async () => {
    await saveProgress(database.db, 'ins_b', { ...progress, fullPassDueInMs: 400 * 86_400_000 })
    expect((await read())?.isFullPassDue).toBe(false)
    expect(await dueIn()).toBeLessThanOrEqual(86_400_000)
    await testDatabase.sql`update clerk_sync.state set full_pass_due_at = now() + interval '26 hours'`
    expect((await read())?.isFullPassDue).toBe(true)
  })
})
