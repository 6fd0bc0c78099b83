import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FaultOptions, RecordedRequest } from '../../src/dev/sandbox/sandbox.ts'
import { createSettledWorld, idsInOrder, idsWithoutRow, timesWithTie, upTo } from '../support/settled.ts'
import { longAgo } from '../support/walking.ts'
import type { World } from '../support/world.ts'

const asksById = (request: RecordedRequest) => request.query.has('user_id')
const asksForPage = (request: RecordedRequest) => !asksById(request)
const impatient = { requestMs: 1000, tries: 2, totalMs: 2000, firstRetryMs: 1 }

const times = fc.constantFrom(1, Number.POSITIVE_INFINITY)
const places = fc.array(fc.nat(30), { maxLength: 3 })

/** All ways of answering badly, in any combination. Numbers are places in the list of live users. */
const badAnswers = fc.record({
  gone: places,
  hiddenFromPages: places,
  cutShort: fc.option(fc.record({ n: fc.nat(5), times })),
  filter: fc.oneof(fc.constantFrom('normal' as const, 'ignored' as const, 'empty' as const), places),
  filterHidesNewest: fc.boolean(),
  byId: fc.option(
    fc.constantFrom('malformed-user' as const, 'empty-array' as const, 'cut-short' as const, 500),
  ),
  counts: fc.option(
    fc.record({ kind: fc.constantFrom('count-high' as const, 'count-low' as const), n: fc.nat(7) }),
  ),
  countLagMs: fc.constantFrom(0, 300_000),
  listingLagMs: fc.constantFrom(0, 0, 300_000),
  dateHeader: fc.constantFrom(true, true, true, false),
  cursorMode: fc.constantFrom('normal' as const, 'normal' as const, 'ignored' as const, 'time-only' as const),
})

type BadAnswers = typeof badAnswers extends fc.Arbitrary<infer T> ? T : never

/** Makes the sandbox answer so; gives the users who live nevertheless. */
function spoil(world: World, bad: BadAnswers): string[] {
  const { sandbox } = world
  const ids = idsInOrder(world)
  const named = (wanted: readonly number[]) => wanted.map((place) => ids[place] ?? '')
  for (const id of named(bad.gone)) sandbox.users.delete(id)
  const list = (options: Omit<FaultOptions, 'endpoint'>) =>
    sandbox.faults.add({ endpoint: 'list', ...options })
  if (bad.byId !== null) list({ kind: bad.byId as 500, n: 1, when: asksById, times: Infinity })
  if (bad.cutShort !== null) list({ kind: 'cut-short', ...bad.cutShort, when: asksForPage })
  list({ kind: 'missing-users', ids: named(bad.hiddenFromPages), when: asksForPage, times: Infinity })
  if (bad.counts !== null) sandbox.faults.add({ endpoint: 'count', ...bad.counts, times: Infinity })
  const hidden = [...(Array.isArray(bad.filter) ? named(bad.filter) : []), ...ids.slice(-4)]
  sandbox.userIdFilter = typeof bad.filter === 'string' ? bad.filter : new Set(named(bad.filter))
  if (bad.filterHidesNewest) sandbox.userIdFilter = new Set(hidden)
  Object.assign(sandbox, { listingLagMs: bad.listingLagMs, countLagMs: bad.countLagMs })
  Object.assign(sandbox, { dateHeader: bad.dateHeader, cursorMode: bad.cursorMode })
  return idsInOrder(world)
}

function heal(world: World): void {
  world.sandbox.faults.clear()
  Object.assign(world.sandbox, { userIdFilter: 'normal', listingLagMs: 0, countLagMs: 0 })
  Object.assign(world.sandbox, { dateHeader: true, cursorMode: 'normal' })
}

test('however Clerk answers, no live user’s row goes, and after one good pass the table equals Clerk', async () => {
  const world = await createSettledWorld(timesWithTie)
  try {
    await fc.assert(
      fc.asyncProperty(badAnswers, async (bad) => {
        const live = spoil(world, bad)
        await world.sync({ pageSize: 5, maxDeletes: 1000, limits: impatient })
        expect(await idsWithoutRow(world, live)).toEqual([])
        heal(world)
        const { report } = await world.sync({ pageSize: 20, maxDeletes: 1000 })
        expect(report).toMatchObject({ status: 'succeeded', error: null })
        expect(await world.rows()).toEqual(world.wanted())
        // As many as before, and settled, for the next combination.
        const missing = timesWithTie.length - world.sandbox.users.size
        for (const time of upTo(missing)) world.sandbox.users.import({ created_at: longAgo + time })
        await world.sync()
        world.sandbox.clock.advance(3600_000)
      }),
      { numRuns: 25, endOnFailure: true },
    )
  } finally {
    await world.close()
  }
})

test('among many deletions one live user whom lists and counts leave out keeps every row', async () => {
  const world = await createSettledWorld(upTo(200))
  try {
    const ids = idsInOrder(world)
    const live = ids[100] ?? ''
    for (const id of ids.slice(0, 150)) if (id !== live) world.sandbox.users.delete(id)
    world.sandbox.faults.add({ endpoint: 'list', kind: 'missing-users', ids: [live], times: Infinity })
    world.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', times: Infinity })
    const { report } = await world.sync({ maxDeletes: 1000 })
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
    world.sandbox.faults.clear()
    const honest = await world.sync({ maxDeletes: 1000 })
    expect(honest.report).toMatchObject({ status: 'succeeded', counts: { deleted: 149 } })
    expect(await world.rows()).toEqual(world.wanted())
  } finally {
    await world.close()
  }
})
