// `--user` deletes by the same rules as a pass: an answer that proves itself, and the guard.
import { afterEach, describe, expect, test } from 'vitest'
import { createSettledWorld, idsInOrder, upTo } from '../support/settled.ts'
import type { World } from '../support/world.ts'

let world: World
afterEach(() => world.close())

const always = { times: Number.POSITIVE_INFINITY }
const user = (userId: string) => ({ pass: 'user', userId }) as const
const rowsLeft = async () => (await world.rows()).size
/** Clerk says in so many words that there is no such user, whoever is asked for, and its lists by id are empty. */
const denyEverybody = () => {
  world.sandbox.faults.add({ endpoint: 'user', kind: 404, ...always })
  world.sandbox.faults.add({
    endpoint: 'list',
    kind: 'empty-array',
    when: ({ query }) => query.has('user_id'),
    ...always,
  })
}

describe('a single user', () => {
  test('keeps the row under a Clerk that denies everybody: twelve ids, one after the other', async () => {
    world = await createSettledWorld(upTo(30))
    denyEverybody()
    for (const id of idsInOrder(world).slice(0, 12)) {
      const { report } = await world.sync({ ...user(id), maxDeletes: 5 })
      expect(report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
      expect(report.notes.join()).toContain('its answer proved nothing')
    }
    expect(await rowsLeft()).toBe(30)
  })

  test('is denied by a list that holds another user of the table, and of several one is enough', async () => {
    world = await createSettledWorld(upTo(10))
    const [gone = '', ...others] = idsInOrder(world)
    world.sandbox.users.delete(gone)
    const asked = () =>
      world.sandbox.requests.flatMap(({ endpoint, query }) =>
        endpoint === 'list' && query.has('user_id') ? [query.getAll('user_id')] : [],
      )
    const before = asked().length
    world.sandbox.faults.add({ endpoint: 'list', kind: 'empty-array', times: 2 })
    expect((await world.sync(user(gone))).report).toMatchObject({
      status: 'succeeded',
      counts: { deleted: 1 },
    })
    const questions = asked().slice(before)
    expect(questions).toHaveLength(3)
    const canaries = questions.flatMap((ids) => ids.filter((id) => id !== gone))
    expect(new Set(canaries).size).toBe(3)
    expect(others).toEqual(expect.arrayContaining(canaries))
  })

  test('keeps the row where the list holds a stranger', async () => {
    world = await createSettledWorld(upTo(10))
    const [gone = ''] = idsInOrder(world)
    world.sandbox.users.delete(gone)
    world.sandbox.userIdFilter = 'ignored'
    expect((await world.sync(user(gone))).report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
    expect(await rowsLeft()).toBe(10)
  })

  test('keeps the row where no other row could prove the answer, and a full pass can approve', async () => {
    world = await createSettledWorld(upTo(1))
    const [only = ''] = idsInOrder(world)
    world.sandbox.users.delete(only)
    const { report } = await world.sync(user(only))
    expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 0, withheld: 1 } })
    expect(report.notes.join()).toContain('npm run sync -- --approve-deletes 1')
    expect(await rowsLeft()).toBe(1)
    expect((await world.sync({ approveDeletes: 1 })).report.counts).toMatchObject({ deleted: 1 })
  })

  test('counts against the guard: of twelve whom Clerk denies five go, and a pass then has none left', async () => {
    world = await createSettledWorld(upTo(30))
    const gone = idsInOrder(world).slice(0, 12)
    for (const id of gone) world.sandbox.users.delete(id)
    const statuses = []
    for (const id of gone) statuses.push((await world.sync({ ...user(id), maxDeletes: 5 })).report.status)
    expect(statuses).toEqual([
      ...Array.from({ length: 5 }, () => 'succeeded'),
      ...Array.from({ length: 7 }, () => 'withheld'),
    ])
    const { report } = await world.sync({ maxDeletes: 5 })
    expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 0, withheld: 7 } })
    expect(report.notes.join()).toContain('0 allowed now')
    expect(await rowsLeft()).toBe(25)
  })

  test('counts against it also where twelve are asked for at once', async () => {
    world = await createSettledWorld(upTo(30))
    const gone = idsInOrder(world).slice(0, 12)
    for (const id of gone) world.sandbox.users.delete(id)
    const outcomes = await Promise.all(gone.map((id) => world.sync({ ...user(id), maxDeletes: 5 })))
    const deleted = outcomes.map(({ report }) => report.counts.deleted)
    expect(deleted.reduce((sum, count) => sum + count, 0)).toBe(5)
    expect(await rowsLeft()).toBe(25)
    expect(outcomes.filter(({ report }) => report.status === 'withheld')).toHaveLength(7)
  })

  test('shows in a dry run what the guard would say', async () => {
    world = await createSettledWorld(upTo(30))
    const [gone = ''] = idsInOrder(world)
    world.sandbox.users.delete(gone)
    const dry = { ...user(gone), dryRun: true }
    expect((await world.sync(dry)).report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    expect((await world.sync({ ...dry, maxDeletes: 0 })).report).toMatchObject({
      status: 'withheld',
      counts: { deleted: 0, withheld: 1 },
    })
    expect(await rowsLeft()).toBe(30)
  })
})
