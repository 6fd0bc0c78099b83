// Clerk's clock decides how old a row is, and a wrong one would delete the row of a user who has just signed up.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ReadUser } from '../../src/clerk/user.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { type Clocks, clientHeardBy, openClerkClock } from '../../src/sync/clock.ts'
import { createWorld, type World } from '../support/world.ts'

const second = 1000
const minute = 60 * second
const hour = 60 * minute

describe('a pass under a list that lags, real clocks, and a Date that', () => {
  let world: World
  let newcomer: string

  /** A user of four seconds ago, whom a webhook has brought and no list shows yet. */
  beforeEach(async () => {
    world = await createWorld({ users: seedUsers({ count: 20, seed: 7 }) })
    await world.sync({ clocks: 'real' })
    newcomer = world.sandbox.users.create({ first_name: 'New' }).id
    await world.sync({ clocks: 'real' })
    expect((await world.rows()).size).toBe(21)
    world.sandbox.faults.add({ endpoint: 'list', kind: 'missing-users', ids: [newcomer], times: Infinity })
    world.sandbox.faults.add({ endpoint: 'user', kind: 404, times: Infinity })
    world.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', times: Infinity })
  })
  afterEach(() => world.close())

  const sync = (options = {}) => world.sync({ clocks: 'real', ...options })
  const hasRow = async () => (await world.rows()).has(newcomer)

  test.each([
    ['is an hour ahead', hour],
    ['is an hour behind', -hour],
    ['is eleven minutes ahead', 11 * minute],
    ['is nine minutes and 58 seconds ahead, within the grace', 9 * minute + 58 * second],
    ['is nine minutes behind, within the grace', -9 * minute],
    ['is right', 0],
  ])('%s: the row of a user who has just signed up stays', async (_name, lead) => {
    world.sandbox.dateLeadMs = lead
    const { report } = await sync()
    expect(report.counts).toMatchObject({ deleted: 0, pending: 1 })
    expect(await hasRow()).toBe(true)
  })

  test.each([hour, -hour])('is %i ms off: --user leaves the row, too, and says why', async (lead) => {
    world.sandbox.dateLeadMs = lead
    const { report } = await sync({ pass: 'user', userId: newcomer })
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0, pending: 1 } })
    expect(report.notes).toContainEqual(expect.stringContaining('clocks disagree'))
    expect(await hasRow()).toBe(true)
  })

  test('is off makes the run partial where a row waits for it, and names the clock', async () => {
    world.sandbox.dateLeadMs = hour
    const { report } = await sync()
    expect(report.status).toBe('partial')
    expect(report.notes).toContainEqual(
      expect.stringMatching(
        /the Date of Clerk's answers is 3\d\d\d s ahead of this machine's clock and 3\d\d\d s ahead of Postgres's/,
      ),
    )
  })

  test('is off is noted, and the exit is as ever, where nothing waits for it', async () => {
    world.sandbox.faults.clear()
    world.sandbox.dateLeadMs = hour
    const { report } = await sync()
    expect(report).toMatchObject({ status: 'succeeded', counts: { unchanged: 21 } })
    expect(report.notes).toContainEqual(expect.stringContaining('clocks disagree'))
  })

  test('is missing makes the run partial where a row waits for it', async () => {
    world.sandbox.dateHeader = false
    const { report } = await sync()
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0, pending: 1 } })
    expect(report.notes).toContainEqual(expect.stringContaining('Date header'))
  })

  test('is missing leaves the exit as it is under upsert-only, where no row would go with it either', async () => {
    world.sandbox.dateHeader = false
    const { report } = await sync({ policy: 'upsert-only' })
    expect(report).toMatchObject({ status: 'succeeded', counts: { pending: 1 } })
  })
})

describe('a user who has long been gone', () => {
  let world: World

  beforeEach(async () => {
    world = await createWorld({ users: seedUsers({ count: 20, seed: 7 }) })
    await world.sync({ clocks: 'real' })
    const [gone] = world.sandbox.users.all()
    await world.database.sql`
      update users set clerk_updated_at = now() - interval '1 day' where clerk_id = ${gone?.id ?? ''}`
    world.sandbox.users.delete(gone?.id ?? '')
  })
  afterEach(() => world.close())

  const clocks = (own: number, postgres: number): Clocks => ({
    own: () => Date.now() + own,
    postgres: async () => Date.now() + postgres,
  })

  test.each([
    ["this machine's clock is 3600 s behind", clocks(-hour, 0)],
    ["Postgres's clock is 3600 s ahead of", clocks(0, hour)],
    ["the Date of Clerk's answers is 3600 s behind this machine's clock", clocks(hour, hour)],
  ])('keeps the row while %s', async (words, off) => {
    const { report } = await world.sync({ clocks: off })
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0, pending: 1 } })
    expect(report.notes.map((note) => note.replace(/3(599|601)/g, '3600'))).toContainEqual(
      expect.stringContaining(words),
    )
    expect((await world.sync({ clocks: 'real' })).report).toMatchObject({
      status: 'succeeded',
      counts: { deleted: 1 },
    })
  })

  test('keeps the row where the clock is in doubt only since Clerk was asked for the user alone', async () => {
    world.sandbox.onRequest = (request) => {
      if (request.endpoint === 'user') world.sandbox.dateLeadMs = hour
    }
    const { report } = await world.sync({ clocks: 'real' })
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0, pending: 1 } })
  })

  test('keeps the row where Clerk has a user changed later than its Date', async () => {
    world.sandbox.clock.advance(5 * minute)
    const [user] = world.sandbox.users.all()
    world.sandbox.users.signIn(user?.id ?? '')
    world.sandbox.clock.advance(-5 * minute)
    const { report } = await world.sync({ clocks: 'real' })
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0, pending: 1 } })
    expect(report.notes).toContainEqual(expect.stringMatching(/updated_at is (29\d|300) s ahead of the Date/))
  })
})

describe('the clock of a pass', () => {
  const now = Date.UTC(2026, 1, 3, 12)
  const grace = 10 * minute
  const open = async (own: number, postgres: number, graceMs = grace) => {
    const notes: string[] = []
    const clocks = { own: () => now + own, postgres: async () => now + postgres }
    const clock = await openClerkClock(clocks, graceMs, (text) => notes.push(text))
    return { clock, notes }
  }

  test('takes the most careful of clocks that agree: the earliest for the past, the latest for the future', async () => {
    const { clock } = await open(-3 * minute, 2 * minute)
    clock.hear(now, now)
    expect(clock).toMatchObject({ startedAt: now - 3 * minute, latest: now + 2 * minute, doubt: undefined })
  })

  test('began with the first answer, however many follow', async () => {
    let passed = 0
    const clocks = { own: () => now + passed, postgres: async () => now + passed }
    const clock = await openClerkClock(clocks, grace, () => {})
    clock.hear(now, undefined)
    passed = hour
    clock.hear(now + hour, undefined)
    expect(clock).toMatchObject({ startedAt: now, latest: now + hour })
  })

  test.each([
    ['no Date in the first answer', [undefined, now]],
    ['one Date that is off among right ones', [now, now + hour, now]],
  ])('settles nothing after %s', async (_name, dates) => {
    const { clock } = await open(0, 0)
    for (const date of dates) clock.hear(date, undefined)
    expect(clock).toMatchObject({ startedAt: undefined, latest: undefined, earliest: now })
  })

  test('goes on after a later answer without a Date', async () => {
    const { clock } = await open(0, 0)
    for (const date of [now, undefined, now]) clock.hear(date, undefined)
    expect(clock).toMatchObject({ startedAt: now, doubt: undefined })
  })

  test.each([
    [-grace, true],
    [-grace - 1, false],
    // A Date is rounded down by up to a second.
    [grace + 999, true],
    [grace + 1000, false],
  ])('and another %i ms ahead of the Date: they agree, %s', async (lead, agree) => {
    for (const { clock, notes } of [await open(lead, 0), await open(0, lead)]) {
      clock.hear(now, undefined)
      expect(clock.doubt === undefined).toBe(agree)
      expect(notes).toHaveLength(agree ? 0 : 1)
    }
  })

  test('allows a minute whatever the grace', async () => {
    const { clock } = await open(minute, -minute, 0)
    clock.hear(now, undefined)
    expect(clock.doubt).toBeUndefined()
  })

  test.each([
    [minute + 999, true],
    [minute + 1000, false],
  ])('and a version %i ms ahead of the Date: they agree, %s', async (lead, agree) => {
    const { clock } = await open(0, 0)
    clock.hear(now, now + lead)
    expect(clock.doubt === undefined).toBe(agree)
  })

  test('asks Postgres again where it was slow to answer, and takes the quickest answer', async () => {
    let passed = 0
    const waits = [20 * minute, 2 * minute, 3 * minute]
    const clocks = {
      own: () => now + passed,
      async postgres() {
        passed += waits.shift() ?? 0
        return now + passed
      },
    }
    const clock = await openClerkClock(clocks, grace, () => {})
    clock.hear(now + passed, undefined)
    expect(clock.doubt).toBeUndefined()
    expect(waits).toEqual([])
  })

  test('holds a Date against what Postgres can have meant at worst', async () => {
    let passed = 0
    const clocks = {
      own: () => now + passed,
      async postgres() {
        passed += grace + minute
        return now + passed
      },
    }
    const clock = await openClerkClock(clocks, grace, () => {})
    clock.hear(now + passed, undefined)
    expect(clock.doubt).toContain("Postgres's clock is 659 s ahead of")
  })

  test('hears every answer of the client, whatever was asked', async () => {
    const user = { kind: 'rejected', clerkId: 'user_1', createdAt: 1, reason: '' } as const
    const users = (lead: number): ReadUser[] => [
      { ...user, updatedAt: now },
      { kind: 'unreadable' },
      { ...user, updatedAt: undefined },
      { ...user, updatedAt: now + lead },
      { ...user, updatedAt: 5 },
    ]
    const client = (date: number | undefined, lead = 0) => ({
      requests: { total: 0, throttled: 0 },
      notes: () => [],
      close() {},
      listUsers: async () => ({ users: users(lead), limit: 500, date }),
      countUsers: async () => ({ count: 0, date }),
      fetchUser: async () => ({ user: { ...user, updatedAt: now + lead }, date }),
      fetchInstance: async () => ({ id: 'ins_1', date }),
    })
    const doubtAfter = async (
      ask: (client: ReturnType<typeof clientHeardBy>) => Promise<unknown>,
      date: number | undefined,
      lead?: number,
    ) => {
      const { clock } = await open(0, 0)
      await ask(clientHeardBy(clock, client(date, lead)))
      return clock.doubt !== undefined
    }
    for (const ask of [
      (clerk) => clerk.listUsers({ limit: 1 }),
      (clerk) => clerk.countUsers(),
      (clerk) => clerk.fetchUser('user_1'),
      (clerk) => clerk.fetchInstance(),
    ] satisfies Parameters<typeof doubtAfter>[0][]) {
      expect(await doubtAfter(ask, now)).toBe(false)
      expect(await doubtAfter(ask, now + hour)).toBe(true)
      expect(await doubtAfter(ask, undefined)).toBe(true)
    }
    expect(await doubtAfter((clerk) => clerk.listUsers({ limit: 1 }), now, hour)).toBe(true)
    expect(await doubtAfter((clerk) => clerk.fetchUser('user_1'), now, hour)).toBe(true)
  })
})
