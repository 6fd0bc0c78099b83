// Mapped users in a real table: what is written reads back equal, and odd users go through whole runs.
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readUser } from '../../src/clerk/user.ts'
import { readCatalog, type TableCatalog } from '../../src/db/catalog.ts'
import { type Database, openDatabase, transaction } from '../../src/db/database.ts'
import { insertUsers, readRows } from '../../src/db/users.ts'
import { createClock } from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { planPage } from '../../src/sync/plan.ts'
import { createTestDatabase, type TestDatabase, tableStatistics } from '../support/database.ts'
import { createWorld } from '../support/world.ts'
import { almostUser } from './any-user.ts'

const updatedAt = Date.UTC(2025, 0, 2, 3, 4, 5, 679)

describe('in the table', () => {
  let store: TestDatabase
  let database: Database
  let catalog: TableCatalog
  beforeAll(async () => {
    store = await createTestDatabase()
    database = openDatabase(store.url)
    catalog = await readCatalog(database.db)
  })
  afterAll(async () => {
    await database.close()
    await store.drop()
  })

  test('a mapped user reads back from Postgres as it was written, and planned again changes nothing', async () => {
    let mapped = 0
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(almostUser, { selector: (user) => user.id, minLength: 10, maxLength: 20 }),
        async (users) => {
          const desired = users.map(readUser).flatMap((read) => (read.kind === 'user' ? [read.desired] : []))
          mapped += desired.length
          await transaction(database, async (tx) => {
            expect(await insertUsers(tx, desired, 0)).toHaveLength(desired.length)
            const rows = await readRows(
              tx,
              desired.map((user) => user.clerkId),
              catalog,
            )
            const found = new Map(rows.map((row) => [row.clerkId, row]))
            for (const { clerkId, values, clerkCreatedAt, clerkUpdatedAt } of desired) {
              // Postgres has no negative zero.
              const times = { clerkCreatedAt: clerkCreatedAt + 0, clerkUpdatedAt: clerkUpdatedAt + 0 }
              expect(found.get(clerkId)).toEqual({ clerkId, values, ...times, isDayOld: false })
            }
            const clock = { startedAt: updatedAt, latest: updatedAt, graceMs: 600_000 }
            const plan = planPage(desired, rows, new Map(), clock)
            expect(plan.unchanged).toHaveLength(desired.length)
            await tx.execute('delete from users')
          })
        },
      ),
      { numRuns: 40 },
    )
    expect(mapped).toBeGreaterThan(100)
  })
})

describe('odd users go through whole runs', () => {
  const clock = createClock({ at: Date.UTC(2026, 5, 1), frozen: true })
  const names = { first_name: 'Nu\u0000l', last_name: 'Lone \uD83D' }
  const mappable = [
    names,
    { first_name: '😀👩🏽‍🚀', last_name: '🏳️‍🌈' },
    { first_name: 'x'.repeat(10_000), last_name: 'y'.repeat(10_000) },
    { first_name: ' ', last_name: '\u00A0', username: null },
    { email_address: 'nul\u0000@example.com', first_name: 'Nul' },
    { created_at: Date.UTC(9999, 11, 31, 23, 59, 59, 999) },
    { updated_at: Date.UTC(9999, 11, 31, 23, 59, 59, 999) },
    { created_at: -1, updated_at: -1 },
    { created_at: Date.parse('0001-01-01T00:00:00Z'), updated_at: Date.parse('0001-01-01T00:00:00Z') },
    { image_url: undefined as never },
    { image_url: 'https://img.clerk.com/\u0000\uDE00' },
  ]
  const unmappable = [
    { created_at: Date.UTC(9999, 11, 31) + 86_400_000 },
    { updated_at: Date.parse('0000-06-01T00:00:00Z') },
    { created_at: -1e15 },
    { primary_email_address_id: 'idn_none' },
  ]

  test('mapped, or that user alone rejected by name; the second run writes nothing', async () => {
    const world = await createWorld({ users: seedUsers({ count: 7 }), clock })
    const { sandbox, database } = world
    try {
      for (const parts of mappable) sandbox.users.create(parts)
      const broken = unmappable.map((parts) => {
        const { id } = sandbox.users.create()
        sandbox.users.putRaw({ ...sandbox.users.get(id), ...parts })
        return id
      })
      broken.sort()
      const settings = { pageSize: 4 }
      const { report, rejections } = await world.sync(settings)
      expect(report).toMatchObject({ status: 'partial', error: null })
      expect(rejections.map(({ clerkId }) => clerkId).sort()).toEqual(broken)
      const wanted = world.wanted()
      for (const id of broken) wanted.delete(id)
      expect(await world.rows()).toEqual(wanted)

      const before = await tableStatistics(database.sql)
      const again = await world.sync(settings)
      expect(again.report.counts).toMatchObject({
        unchanged: wanted.size,
        rejected: broken.length,
        updated: 0,
      })
      expect(await tableStatistics(database.sql)).toEqual(before)

      // Mended in Clerk, they get their rows; broken again, they keep them.
      for (const id of broken) {
        sandbox.users.update(id, {
          created_at: clock.now() - 1000,
          updated_at: clock.now(),
          primary_email_address_id: null,
        })
      }
      expect((await world.sync(settings)).report).toMatchObject({
        status: 'succeeded',
        counts: { created: 4 },
      })
      expect(await world.rows()).toEqual(world.wanted())
      const mended = await world.rows()
      sandbox.clock.advance(3_600_000)
      // They are listed first, last and last: far from where their rows stand.
      const times = [-1e15, 1e15, 'once', {}] as never[]
      for (const [index, id] of broken.entries()) {
        sandbox.users.update(id, { created_at: times[index] ?? expect.unreachable() })
      }
      const { report: last } = await world.sync({ ...settings, maxDeletes: 100 })
      expect(last).toMatchObject({
        status: 'partial',
        counts: { seen: sandbox.users.size, deleted: 0, rejected: 4 },
      })
      expect(await world.rows()).toEqual(mended)
    } finally {
      await world.close()
    }
  })

  test('a user dated far ahead does not move the watermark beyond the present', async () => {
    const world = await createWorld({ users: seedUsers({ count: 3 }), clock })
    try {
      world.sandbox.users.create({ updated_at: Date.UTC(9999, 0, 1) })
      expect((await world.sync()).report.status).toBe('succeeded')
      const [state] = await world.database.sql<{ watermark: number }[]>`
        select (extract(epoch from watermark) * 1000)::float8 as watermark from clerk_sync.state`
      expect(state?.watermark).toBeLessThanOrEqual(clock.now())
    } finally {
      await world.close()
    }
  })

  test('a run with nobody but a user of the first moment of the year 1 meets its end', async () => {
    const moment = Date.parse('0001-01-01T00:00:00Z')
    const world = await createWorld({ clock })
    try {
      world.sandbox.users.create({ created_at: moment, updated_at: moment })
      expect((await world.sync()).report).toMatchObject({ status: 'succeeded', error: null })
      expect(await world.rows()).toEqual(world.wanted())
    } finally {
      await world.close()
    }
  })

  test("a name too long for the app's own index rejects that user alone", async () => {
    const world = await createWorld({ users: seedUsers({ count: 5 }), clock })
    try {
      await world.database.sql`create index on users (name)`
      // Random letters, since Postgres compresses the others until they fit.
      const random = Array.from({ length: 10_000 }, (_, index) =>
        String.fromCodePoint(0x4e00 + ((index * 7919) % 20_000)),
      )
      const { id } = world.sandbox.users.create({ first_name: random.join('') })
      const { report, rejections } = await world.sync()
      expect(report).toMatchObject({ status: 'partial', error: null, counts: { created: 5, rejected: 1 } })
      expect(rejections).toEqual([{ clerkId: id, reason: expect.stringContaining('54000') }])
    } finally {
      await world.close()
    }
  })
})
