import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { FaultKind, Malformation, RecordedRequest } from '../../src/dev/sandbox/sandbox.ts'
import { createSettledWorld, idsInOrder, idsWithoutRow, upTo } from '../support/settled.ts'
import type { World } from '../support/world.ts'

const minuteMs = 60_000
const impatient = { requestMs: 1000, tries: 2, totalMs: 2000, firstRetryMs: 1 }

const asksById = (request: RecordedRequest) => request.query.has('user_id')
const asksForPage = (request: RecordedRequest) => !asksById(request)

/** 40 users with rows. Clerk has lost `gone`; `live` is one that it has, and `ids` are all that it has. */
let world: World
let gone: string
let live: string
let ids: string[]

beforeEach(async () => {
  world = await createSettledWorld(upTo(40))
  const all = idsInOrder(world)
  gone = all[20] ?? ''
  live = all[10] ?? ''
  ids = all.filter((id) => id !== gone)
  world.sandbox.users.delete(gone)
})
afterEach(() => world.close())

/** No page shows the live user. */
function hideFromPages(...hidden: string[]): void {
  world.sandbox.faults.add({
    endpoint: 'list',
    kind: 'missing-users',
    ids: hidden,
    when: asksForPage,
    times: Infinity,
  })
}

async function expectRows(...wanted: string[]): Promise<void> {
  expect(await idsWithoutRow(world, wanted)).toEqual([])
}

/** Without faults the next pass makes the table equal. */
async function expectNextPassEqual(): Promise<void> {
  world.sandbox.faults.clear()
  world.sandbox.userIdFilter = 'normal'
  world.sandbox.dateHeader = true
  world.sandbox.onRequest = undefined
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'succeeded', error: null })
  expect(await world.rows()).toEqual(world.wanted())
}

test('a row that no page returned goes once Clerk denies its user, and leaves a tombstone of its run', async () => {
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'succeeded', notes: [] })
  expect(report.counts).toMatchObject({ seen: 39, deleted: 1 })
  expect(await world.rows()).toEqual(world.wanted())
  const tombstones = await world.database.sql`select clerk_id, run_id::int from clerk_sync.tombstones`
  expect(tombstones).toEqual([{ clerk_id: gone, run_id: report.runId }])
})

test('a candidate that Clerk returns after all is planned like any other user', async () => {
  world.sandbox.users.update(live, { first_name: 'New', last_name: 'Name' })
  world.sandbox.clock.advance(11 * minuteMs)
  hideFromPages(live)
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'succeeded' })
  expect(report.counts).toMatchObject({ seen: 39, updated: 1, unchanged: 38, deleted: 1 })
  expect(await world.rows()).toEqual(world.wanted())
})

test('a row within the grace is left pending, and goes later', async () => {
  world.sandbox.users.signIn(live)
  await world.sync()
  world.sandbox.users.delete(live)
  const soon = await world.sync()
  expect(soon.report).toMatchObject({ status: 'succeeded', counts: { pending: 1, deleted: 0 } })
  await expectRows(live)
  world.sandbox.clock.advance(11 * minuteMs)
  const later = await world.sync()
  expect(later.report.counts).toMatchObject({ pending: 0, deleted: 1 })
  expect(await world.rows()).toEqual(world.wanted())
})

describe('an answer about the candidates that proves nothing deletes nothing', () => {
  const expectUnproven = async () => {
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', error: null, counts: { deleted: 0 } })
    expect(report.notes).toContainEqual(expect.stringContaining('proved nothing'))
    await expectRows(live, gone)
    await expectNextPassEqual()
  }

  test('with strangers in it, since the filter is ignored', async () => {
    hideFromPages(live)
    world.sandbox.userIdFilter = 'ignored'
    await expectUnproven()
  })

  test('without anybody in it', async () => {
    hideFromPages(live)
    world.sandbox.userIdFilter = 'empty'
    await expectUnproven()
  })

  test('without the canary', async () => {
    hideFromPages(live)
    world.sandbox.userIdFilter = new Set([live, ...ids.slice(-10)])
    await expectUnproven()
  })

  test.each<Malformation>(['null', 'no id', 'a foreign id'])('with %s for a user', async (how) => {
    hideFromPages(live)
    world.sandbox.faults.add({ endpoint: 'list', kind: 'malformed-user', how, ids: [live], when: asksById })
    await expectUnproven()
  })
})

test('a page with a user whose id cannot be read lets no row go, since it might be that user’s', async () => {
  world.sandbox.faults.add({
    endpoint: 'list',
    kind: 'malformed-user',
    how: 'no id',
    ids: [live],
    when: asksForPage,
    times: Infinity,
  })
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'partial', error: null, counts: { deleted: 0 } })
  expect(report.notes).toContainEqual(expect.stringContaining('the pass was incomplete, so they stay'))
  await expectRows(live, gone)
  await expectNextPassEqual()
})

test.each<Malformation>(['created_at a string', 'no updated_at', 'first_name an object'])(
  'a candidate that is returned with %s lives, and is rejected by name',
  async (how) => {
    hideFromPages(live)
    world.sandbox.faults.add({ endpoint: 'list', kind: 'malformed-user', how, ids: [live], when: asksById })
    const { report, rejections } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 1, rejected: 1 } })
    expect(rejections.map((each) => each.clerkId)).toEqual([live])
    await expectRows(...ids)
    await expectNextPassEqual()
  },
)

test.each<FaultKind>([500, 'reset', 422, 404, 'html', 'object', 'wrapped-empty', 'null'])(
  'candidates asked about in vain (%s) stay, and the run fails',
  async (kind) => {
    hideFromPages(live)
    world.sandbox.faults.add({ endpoint: 'list', kind, when: asksById, times: Infinity })
    const { report } = await world.sync({ limits: impatient })
    expect(report).toMatchObject({ status: 'failed', counts: { deleted: 0 } })
    await expectRows(live, gone)
    await expectNextPassEqual()
  },
)

describe('a filter that leaves a live user out', () => {
  beforeEach(() => {
    hideFromPages(live)
    world.sandbox.userIdFilter = new Set([live])
  })

  test('costs no row: asked alone, Clerk has the user, and no other denial counts', async () => {
    world.sandbox.users.update(live, { first_name: 'New' })
    world.sandbox.clock.advance(11 * minuteMs)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0, pending: 1, updated: 1 } })
    expect(report.notes).toContainEqual(expect.stringContaining('no row is deleted until they agree'))
    await expectRows(gone, ...ids)
    await expectNextPassEqual()
  })

  test('costs no row where the counts say that nobody is missing', async () => {
    world.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', times: Infinity })
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
    await expectRows(gone, ...ids)
    await expectNextPassEqual()
  })

  test('is remembered: the rows that stayed are in doubt, and a full pass is due', async () => {
    await world.sync()
    const [state] = await world.database.sql`
      select difference->'pendingRows' as pending, full_pass_due_at > now() as due from clerk_sync.state`
    expect(state).toEqual({ pending: [gone], due: true })
  })

  test.each<FaultKind>([500, 'html', 'object', 'reset', 422])(
    'costs no row where Clerk cannot be asked alone (%s)',
    async (kind) => {
      world.sandbox.faults.add({ endpoint: 'user', kind, times: Infinity })
      const { report } = await world.sync({ limits: impatient })
      expect(report).toMatchObject({ status: 'failed', counts: { deleted: 0 } })
      await expectRows(live, gone)
    },
  )
})

describe('the canary', () => {
  /** Deletes so many of the newest users as soon as the candidates are asked about. */
  const deleteNewest = (count: number) => {
    world.sandbox.onRequest = (request) => {
      if (!asksById(request)) return
      for (const id of ids.slice(-count)) world.sandbox.users.delete(id)
    }
  }

  test.each([1, 2])('may be deleted meanwhile: %i users, and another proves the answer', async (count) => {
    deleteNewest(count)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    await expectRows(...ids)
    await expectNextPassEqual()
  })

  test('that has gone with all others that could take its place proves nothing', async () => {
    deleteNewest(3)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
    await expectRows(gone, ...ids)
    await expectNextPassEqual()
  })
})

test('without a Date header no row is deleted, not even an adopted one, and the report says so', async () => {
  await world.database.sql`update users set clerk_created_at = null, clerk_updated_at = null,
    created_at = now() - interval '2 days' where clerk_id = ${gone}`
  world.sandbox.users.delete(live)
  world.sandbox.dateHeader = false
  const { report } = await world.sync()
  expect(report.counts).toMatchObject({ deleted: 0, pending: 2 })
  expect(report.notes).toContainEqual(expect.stringContaining('Date header'))
  await expectRows(live, gone)
  await expectNextPassEqual()
})

describe('a pass that saw nobody', () => {
  beforeEach(() => {
    for (const id of ids) world.sandbox.users.delete(id)
  })

  test('deletes nothing by itself', async () => {
    const { report } = await world.sync({ maxDeletes: 1000 })
    expect(report).toMatchObject({ status: 'withheld', counts: { seen: 0, deleted: 0, withheld: 40 } })
    expect(report.notes).toContainEqual(expect.stringContaining('--approve-deletes 40'))
    expect((await world.rows()).size).toBe(40)
  })

  test('deletes nothing under an approval of fewer', async () => {
    const { report } = await world.sync({ approveDeletes: 39 })
    expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 0, withheld: 40 } })
    expect((await world.rows()).size).toBe(40)
  })

  test('deletes what is approved', async () => {
    const { report } = await world.sync({ approveDeletes: 40 })
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 40, withheld: 0 } })
    expect((await world.rows()).size).toBe(0)
  })
})

test('an approval does not delete users whom only the list has lost', async () => {
  world.sandbox.faults.add({ endpoint: 'list', kind: 'empty-array', times: Infinity })
  world.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', n: 1000, times: Infinity })
  const { report } = await world.sync({ approveDeletes: 40 })
  expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
  await expectRows(gone, ...ids)
  await expectNextPassEqual()
})

describe('of many denied users', () => {
  const isAlone = ({ endpoint }: { endpoint: string }) => endpoint === 'user'
  const many = { maxDeletes: 1000 }

  test('each is asked for alone, so that the only one who lives is found among 600', async () => {
    const crowd = await createSettledWorld(upTo(640))
    try {
      const denied = idsInOrder(crowd).slice(-600)
      const [alive = '', ...deleted] = denied
      for (const id of deleted) crowd.sandbox.users.delete(id)
      crowd.sandbox.faults.add({ endpoint: 'list', kind: 'missing-users', ids: [alive], times: Infinity })
      crowd.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', n: 1, times: Infinity })
      const { report } = await crowd.sync({ maxDeletes: 5000 })
      expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
      expect((await crowd.rows()).size).toBe(640)
      crowd.sandbox.faults.clear()
      crowd.sandbox.requests.length = 0
      const next = await crowd.sync({ maxDeletes: 5000 })
      expect(next.report).toMatchObject({ status: 'succeeded', counts: { deleted: 599 } })
      expect(new Set(crowd.sandbox.requests.filter(isAlone).map((each) => each.path)).size).toBe(599)
    } finally {
      await crowd.close()
    }
  })

  test('the questions end with the first round that has found one', async () => {
    const crowd = await createSettledWorld(upTo(640))
    try {
      const hidden = idsInOrder(crowd).slice(-600)
      crowd.sandbox.faults.add({ endpoint: 'list', kind: 'missing-users', ids: hidden, times: Infinity })
      crowd.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', n: 600, times: Infinity })
      expect((await crowd.sync({ maxDeletes: 5000 })).report.counts.deleted).toBe(0)
      expect(crowd.sandbox.requests.filter(isAlone)).toHaveLength(100)
    } finally {
      await crowd.close()
    }
  })

  test('one that is found alive keeps every row, where lists and counts leave 600 live users out', async () => {
    const crowd = await createSettledWorld(upTo(640))
    try {
      const hidden = idsInOrder(crowd).slice(-600)
      crowd.sandbox.faults.add({ endpoint: 'list', kind: 'missing-users', ids: hidden, times: Infinity })
      crowd.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', n: 600, times: Infinity })
      const { report, log } = await crowd.sync({ maxDeletes: 5000 })
      expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
      expect((await crowd.rows()).size).toBe(640)
      expect(log).toContain('user is in no list, but Clerk has it')
      crowd.sandbox.faults.clear()
      expect((await crowd.sync()).report).toMatchObject({ status: 'succeeded', counts: { unchanged: 640 } })
    } finally {
      await crowd.close()
    }
  })

  test('all are asked for alone where Clerk counts users that no page showed', async () => {
    hideFromPages(live)
    world.sandbox.userIdFilter = new Set([live])
    for (const id of ids.slice(-9)) world.sandbox.users.delete(id)
    const { report } = await world.sync(many)
    expect(world.sandbox.requests.filter(isAlone)).toHaveLength(11)
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
    await expectRows(live)
  })
})
