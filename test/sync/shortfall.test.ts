import { expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createSettledWorld, idsInOrder, idsWithoutRow, upTo } from '../support/settled.ts'
import { createWorld, type World } from '../support/world.ts'

/** Runs `use` with so many users, one of whom Clerk has lost. */
async function withOneGone(
  users: number,
  use: (world: World, gone: string, ids: string[]) => Promise<void>,
): Promise<void> {
  const world = await createSettledWorld(upTo(users))
  try {
    const [gone = '', ...ids] = idsInOrder(world)
    world.sandbox.users.delete(gone)
    await use(world, gone, ids)
  } finally {
    await world.close()
  }
}

/** So many new users that Clerk counts and no list shows. */
function hideNewUsers(world: World, count: number): void {
  const ids = Array.from({ length: count }, () => world.sandbox.users.create().id)
  world.sandbox.faults.add({ endpoint: 'list', kind: 'missing-users', ids, times: Infinity })
}

async function expectNextPassEqual(world: World): Promise<void> {
  world.sandbox.faults.clear()
  world.sandbox.countLagMs = 0
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'succeeded', error: null })
  expect(await world.rows()).toEqual(world.wanted())
}

test.each([1, 5])('%i users missing make the run partial, and deletions go on', (missing) =>
  withOneGone(40, async (world, _gone, ids) => {
    hideNewUsers(world, missing)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', error: null, counts: { seen: 39, deleted: 1 } })
    expect(report.notes).toContainEqual(expect.stringContaining(`${missing} users that Clerk counts`))
    expect([...(await world.rows()).keys()].sort()).toEqual(ids.toSorted())
    await expectNextPassEqual(world)
  }),
)

test('6 users missing among few forbid every deletion', () =>
  withOneGone(40, async (world, gone, ids) => {
    hideNewUsers(world, 6)
    const { report } = await world.sync({ approveDeletes: 1 })
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0, withheld: 0 } })
    expect(report.notes).toContainEqual(expect.stringContaining('1 rows were on no page; too many users'))
    expect(await idsWithoutRow(world, [gone, ...ids])).toEqual([])
    await expectNextPassEqual(world)
  }))

test('where fewer than half are seen nothing is deleted, however few are missing', () =>
  withOneGone(4, async (world, gone) => {
    hideNewUsers(world, 4)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', counts: { seen: 3, deleted: 0 } })
    expect(await idsWithoutRow(world, [gone])).toEqual([])
    await expectNextPassEqual(world)
  }))

test('where half are seen deletions go on', () =>
  withOneGone(4, async (world, gone) => {
    hideNewUsers(world, 3)
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', counts: { seen: 3, deleted: 1 } })
    expect(await idsWithoutRow(world, [gone])).toEqual([gone])
  }))

test('of 6,000 users 6 may be missing and 7 may not: a thousandth', async () => {
  const world = await createWorld({ users: seedUsers({ count: 6000, seed: 3 }) })
  try {
    await world.sync()
    const [first = '', second = ''] = idsInOrder(world)
    for (const [gone, n, deleted] of [
      [first, 6, 1],
      [second, 7, 0],
    ] as const) {
      world.sandbox.users.delete(gone)
      world.sandbox.faults.add({ endpoint: 'count', kind: 'count-high', n, times: Infinity })
      const { report } = await world.sync()
      expect(report).toMatchObject({ status: 'partial', counts: { deleted } })
      world.sandbox.faults.clear()
    }
    await expectNextPassEqual(world)
  } finally {
    await world.close()
  }
})

test('counts that lag behind deletions are asked once more, and then nobody is missing', () =>
  withOneGone(40, async (world, _gone, ids) => {
    const { sandbox } = world
    for (const id of ids.slice(0, 8)) sandbox.users.delete(id)
    sandbox.countLagMs = 60_000
    let counts = 0
    sandbox.onRequest = ({ endpoint }) => {
      // Before the pass, after it, and once more.
      if (endpoint === 'count' && ++counts === 3) sandbox.clock.advance(61_000)
    }
    const { report } = await world.sync()
    expect(counts).toBe(3)
    expect(report).toMatchObject({ status: 'succeeded', notes: [], counts: { seen: 31, deleted: 9 } })
    expect(await world.rows()).toEqual(world.wanted())
  }))

test('counts that go on lagging behind deletions hold them up, and nothing is lost', () =>
  withOneGone(40, async (world, gone, ids) => {
    for (const id of ids.slice(0, 8)) world.sandbox.users.delete(id)
    world.sandbox.countLagMs = 60_000
    const { report } = await world.sync()
    expect(report).toMatchObject({ status: 'partial', counts: { seen: 31, deleted: 0 } })
    expect(await idsWithoutRow(world, [gone, ...ids])).toEqual([])
    await expectNextPassEqual(world)
  }))

test('counts that lag behind sign-ups, or are too low, forbid nothing', () =>
  withOneGone(40, async (world) => {
    for (let number = 0; number < 8; number++) world.sandbox.users.create()
    world.sandbox.countLagMs = 60_000
    const { report } = await world.sync()
    expect(report).toMatchObject({ error: null, counts: { seen: 47, created: 8, deleted: 1 } })
    expect(await world.rows()).toEqual(world.wanted())
  }))

test('nobody is missing who came or went during the pass', () =>
  withOneGone(40, async (world, _gone, ids) => {
    const { sandbox } = world
    let pages = 0
    sandbox.onRequest = ({ query }) => {
      // Not for ever: a pass ends once a page brings nobody new.
      if (!query.has('starting_after') || ++pages > 8) return
      sandbox.clock.advance(1000)
      sandbox.users.create()
      sandbox.users.delete(ids[3 * pages - 3] ?? '')
    }
    const { report } = await world.sync({ pageSize: 5 })
    expect(pages).toBeGreaterThan(8)
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    sandbox.onRequest = undefined
    sandbox.clock.advance(3600_000)
    const next = await world.sync({ maxDeletes: 100 })
    expect(next.report.status).toBe('succeeded')
    expect(await world.rows()).toEqual(world.wanted())
  }))
