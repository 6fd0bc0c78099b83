// A Clerk, or a line to it, that is slow: bytes that flow are waited for, pages become smaller where they take too long,
// and what never ends is given up. The walk and the deletions must not mistake a smaller page for the end.
import { afterEach, describe, expect, test } from 'vitest'
import type { RecordedRequest } from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createSettledWorld, upTo } from '../support/settled.ts'
import { createWorld, type World } from '../support/world.ts'

let world: World
afterEach(() => world.close())

const limitOf = (request: RecordedRequest) => Number(request.query.get('limit'))
const isById = (request: RecordedRequest) => request.query.has('user_id')
const limitsAsked = () =>
  world.sandbox.requests.filter(({ endpoint }) => endpoint === 'list').map((request) => limitOf(request))

/** Lists of more users than `most` never come. */
function hangBeyond(most: number, when: (request: RecordedRequest) => boolean = () => true): void {
  world.sandbox.faults.add({
    endpoint: 'list',
    kind: 'hang',
    times: Infinity,
    when: (request) => when(request) && Math.max(limitOf(request), 0) > most,
  })
}

const patient = { silenceMs: 2000, requestMs: 30_000, tries: 2, totalMs: 60_000, firstRetryMs: 1 }
const hasty = { silenceMs: 600, requestMs: 30_000, tries: 5, totalMs: 30_000, firstRetryMs: 1 }
const lowered = (size: number) => expect.stringContaining(`pages of ${size} users`)

describe('bytes that flow', () => {
  test('are waited for, however much longer than a silence a page takes', async () => {
    world = await createWorld({ users: seedUsers({ count: 520, seed: 3 }) })
    const page = JSON.stringify(world.sandbox.users.all().slice(0, 500)).length
    // One and a half times the silence that would end it.
    world.sandbox.faults.add({ endpoint: 'list', kind: 'trickle', n: page / 3, times: Infinity })
    const { report } = await world.sync({ limits: patient })
    expect(report).toMatchObject({ status: 'succeeded', counts: { created: 520 }, notes: [] })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('beyond the time of a request make the pages smaller, for the rest of the pass', async () => {
    world = await createWorld({ users: seedUsers({ count: 520, seed: 3 }) })
    const page = JSON.stringify(world.sandbox.users.all().slice(0, 500)).length
    world.sandbox.faults.add({ endpoint: 'list', kind: 'trickle', n: page / 4, times: Infinity })
    const { report } = await world.sync({ limits: { ...patient, requestMs: 1500, totalMs: 1500, tries: 4 } })
    expect(report).toMatchObject({ status: 'succeeded', counts: { created: 520 } })
    expect(await world.rows()).toEqual(world.wanted())
    expect(report.notes).toEqual([expect.stringMatching(/pages of (125|62) users/)])
    const asked = limitsAsked()
    expect(asked.slice(0, 4)).toEqual([3, 500, 250, 125])
    expect(Math.max(...asked.slice(3))).toBe(125)
  })

  test('for ever end the run in a bounded time', async () => {
    world = await createWorld({ users: seedUsers({ count: 520, seed: 3 }) })
    world.sandbox.faults.add({ endpoint: 'list', kind: 'trickle', n: 50, times: Infinity })
    const limits = { silenceMs: 10_000, requestMs: 200, tries: 3, totalMs: 60_000, firstRetryMs: 1 }
    const { report } = await world.sync({ limits })
    expect(report).toMatchObject({ status: 'failed', error: { kind: 'transient' } })
    expect(limitsAsked()).toEqual([3, 3, 3])
  })
})

describe('a Clerk that is silent about large pages', () => {
  test('is asked for smaller ones, and the full pass converges', async () => {
    world = await createWorld({ users: seedUsers({ count: 520, seed: 3 }) })
    hangBeyond(130)
    const { report } = await world.sync({ limits: hasty })
    expect(report).toMatchObject({ status: 'succeeded', counts: { created: 520 }, notes: [lowered(125)] })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('is asked for smaller ones by an incremental pass, which reads as far as with large ones', async () => {
    world = await createWorld({ users: seedUsers({ count: 700, seed: 3 }) })
    await world.sync()
    world.sandbox.clock.advance(60 * 60_000)
    for (const user of world.sandbox.users.all().slice(0, 400)) world.sandbox.users.signIn(user.id)
    hangBeyond(20)
    // 21 pages of 20: with full pages it would be five.
    const { report } = await world.sync({ pass: 'incremental', limits: hasty, pageSize: 100 })
    expect(report).toMatchObject({ pass: 'incremental', status: 'succeeded', counts: { refreshed: 400 } })
    expect(report.notes).toEqual([lowered(12)])
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('is not at its end where a smaller page only repeats what a larger one had', async () => {
    const tied = Array.from({ length: 20 }, () => 50)
    world = await createSettledWorld([...upTo(20), ...tied, ...upTo(30, 60)])
    // The first page ends with the tie, and the second, half as long, has nothing but the tie.
    hangBeyond(20, (request) => request.query.has('starting_after'))
    const { report } = await world.sync({ limits: hasty, pageSize: 40 })
    expect(report).toMatchObject({ status: 'succeeded', counts: { seen: 70, deleted: 0, unchanged: 70 } })
    expect(world.sandbox.requests.filter(isById)).toEqual([])
    expect(report.notes).toEqual([lowered(20)])
  })
})

describe('questions by id', () => {
  const idsAsked = () =>
    world.sandbox.requests.filter(isById).map((request) => request.query.getAll('user_id'))

  /** Twelve of fifty users are gone; lists of more than ten ids hang. */
  async function slowById(): Promise<string[]> {
    world = await createSettledWorld(upTo(50))
    const gone = world.sandbox.users.all().slice(10, 22)
    for (const { id } of gone) world.sandbox.users.delete(id)
    world.sandbox.faults.add({
      endpoint: 'list',
      kind: 'hang',
      times: Infinity,
      when: (request) => request.query.getAll('user_id').length > 10,
    })
    return gone.map(({ id }) => id)
  }

  test('are asked in parts, each with the canary', async () => {
    const gone = await slowById()
    const { report } = await world.sync({ limits: hasty, maxDeletes: 20 })
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 12 }, notes: [lowered(10)] })
    const parts = idsAsked().slice(1)
    const canary = parts[0]?.at(-1)
    expect(parts.length).toBe(2)
    for (const part of parts) expect(part.at(-1)).toBe(canary)
    expect(parts.flatMap((part) => part.slice(0, -1)).sort()).toEqual(gone.sort())
  })

  test('prove nothing where one of the parts comes without the canary', async () => {
    const gone = await slowById()
    const last = gone.sort().at(-1) ?? ''
    world.sandbox.faults.add({
      endpoint: 'list',
      kind: 'empty-array',
      times: Infinity,
      when: (request) => request.query.getAll('user_id').includes(last),
    })
    const { report } = await world.sync({ limits: hasty, maxDeletes: 20 })
    expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
    expect((await world.rows()).size).toBe(50)
  })
})
