import { expect, test } from 'vitest'
import { type Random, randomFrom } from '../../src/dev/sandbox/random.ts'
import { createSettledWorld, idsInOrder, idsWithoutRow, timesWithTie, upTo } from '../support/settled.ts'
import { longAgo } from '../support/walking.ts'
import type { World } from '../support/world.ts'

const pageSize = 5
const minuteMs = 60_000

/** Changes one user in Clerk and gives its id, undefined if it changed none. */
type Event = (world: World, random: Random) => string | undefined

const events: Record<string, Event> = {
  'sign-up': ({ sandbox }) => sandbox.users.create().id,
  import: ({ sandbox }, random) => sandbox.users.import({ created_at: longAgo + random.below(50) }).id,
  update: (world, random) => world.sandbox.users.update(anyone(world, random), { first_name: 'New' }).id,
  'sign-in': (world, random) => world.sandbox.users.signIn(anyone(world, random)).id,
  move: (world, random) =>
    world.sandbox.users.update(anyone(world, random), { created_at: longAgo + random.below(50) }).id,
  deletion: (world, random) => {
    // A pass that sees nobody deletes nobody.
    const isLate = world.sandbox.users.size < 10
    return isLate ? undefined : world.sandbox.users.delete(anyone(world, random))?.id
  },
}

function anyone(world: World, random: Random): string {
  const ids = idsInOrder(world)
  return ids[random.below(ids.length)] ?? ''
}

/** A look at whether a live user's row has gone that was there at an earlier look. */
function watchRows(world: World): () => Promise<void> {
  const known = new Set(idsInOrder(world))
  return async () => {
    const live = idsInOrder(world)
    const missing = new Set(await idsWithoutRow(world, live))
    expect(live.filter((id) => known.has(id) && missing.has(id))).toEqual([])
    for (const id of live) if (!missing.has(id)) known.add(id)
  }
}

/**
 * Three passes, and before every answer of theirs some of the events, each now and then followed by what a webhook
 * would write; then one more pass, in peace. Looks at the rows before every answer.
 */
async function expectConvergence(world: World, happening: readonly Event[], seed: number): Promise<void> {
  const random = randomFrom(seed)
  const look = watchRows(world)
  const losses: unknown[] = []
  let isStirring = false
  world.sandbox.onRequest = async () => {
    if (isStirring) return
    isStirring = true
    await look().catch((loss: unknown) => losses.push(loss))
    world.sandbox.clock.advance(random.below(3000))
    for (let left = random.below(3); left > 0; left--) {
      const event = happening[random.below(happening.length)]
      const userId = event?.(world, random)
      if (userId !== undefined && random.chance(0.3)) await world.sync({ pass: 'user', userId })
    }
    isStirring = false
  }
  for (let pass = 0; pass < 3; pass++) {
    const { report } = await world.sync({ pageSize, maxDeletes: 1000 })
    expect(report.error).toBeNull()
    world.sandbox.clock.advance(minuteMs)
  }
  world.sandbox.onRequest = undefined
  await look()
  expect(losses).toEqual([])
  // What changed last settles.
  world.sandbox.clock.advance(11 * minuteMs)
  const { report } = await world.sync({ pageSize, maxDeletes: 1000 })
  expect(report).toMatchObject({ status: 'succeeded', error: null })
  expect(await world.rows()).toEqual(world.wanted())
}

test.each(Object.keys(events))('a %s between any two requests costs no row, and arrives', async (name) => {
  const world = await createSettledWorld(timesWithTie)
  try {
    await expectConvergence(
      world,
      Object.values(events).filter((event) => event === events[name]),
      7,
    )
  } finally {
    await world.close()
  }
})

test.each([
  [1, 0],
  [2, 0],
  [3, 2 * minuteMs],
  [4, 9 * minuteMs],
])(
  'an instance that never rests loses no row, and equals the table once it does (seed %i, lag %i ms)',
  async (seed, lagMs) => {
    const world = await createSettledWorld(timesWithTie)
    try {
      world.sandbox.listingLagMs = lagMs
      world.sandbox.countLagMs = lagMs
      await expectConvergence(world, Object.values(events), seed)
    } finally {
      await world.close()
    }
  },
)

test('a user who moves from the unread to the read part of the list is planned in the same pass', async () => {
  const world = await createSettledWorld(timesWithTie)
  try {
    const last = idsInOrder(world).at(-1) ?? ''
    world.sandbox.users.update(last, { first_name: 'Settled', last_name: 'Long Ago' })
    world.sandbox.clock.advance(11 * minuteMs)
    let pages = 0
    world.sandbox.onRequest = ({ query }) => {
      if (query.has('starting_after') && ++pages === 3) {
        world.sandbox.users.update(last, { created_at: longAgo })
      }
    }
    const { report } = await world.sync({ pageSize })
    expect(report).toMatchObject({ status: 'succeeded', notes: [] })
    expect(report.counts).toMatchObject({ seen: timesWithTie.length, updated: 1, deleted: 0 })
    expect(await world.rows()).toEqual(world.wanted())
  } finally {
    await world.close()
  }
})

test('a pass ends while people sign up before every one of its requests, and nobody loses a row', async () => {
  const world = await createSettledWorld(upTo(12))
  try {
    world.sandbox.onRequest = ({ query }) => {
      if (query.get('order_by') !== '+created_at') return
      world.sandbox.clock.advance(2000)
      for (let index = 0; index < 8; index++) world.sandbox.users.create()
    }
    const { report } = await world.sync({ pageSize })
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 0 } })
    world.sandbox.onRequest = undefined
    expect((await world.sync({ pageSize })).report).toMatchObject({
      status: 'succeeded',
      counts: { deleted: 0 },
    })
    expect(await world.rows()).toEqual(world.wanted())
  } finally {
    await world.close()
  }
})

test('users dated in the future are read to the last, however many', async () => {
  const world = await createSettledWorld(upTo(12))
  try {
    const later = Date.parse('2999-01-01T00:00:00.000Z')
    for (let index = 0; index < 40; index++) world.sandbox.users.import({ created_at: later + index })
    expect((await world.sync({ pageSize })).report).toMatchObject({
      status: 'succeeded',
      counts: { created: 40 },
    })
    expect(await world.rows()).toEqual(world.wanted())
  } finally {
    await world.close()
  }
})
