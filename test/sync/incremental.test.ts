import { afterEach, describe, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type World } from '../support/world.ts'

let world: World
afterEach(() => world.close())

/** A world whose last full pass has settled: every user older than the grace. */
async function settledWorld(count: number, options: Parameters<World['sync']>[0] = {}): Promise<World> {
  world = await createWorld({ users: seedUsers({ count, seed: 3 }) })
  await world.sync(options)
  return world
}

const incremental = { pass: 'incremental' } as const

describe('an incremental pass', () => {
  test('makes four requests and writes nothing to users when nothing changed', async () => {
    await settledWorld(1200)
    const before = await tableStatistics(world.database.sql)
    const { report } = await world.sync(incremental)
    expect(report).toMatchObject({ pass: 'incremental', status: 'succeeded', requests: { total: 4 } })
    expect(await tableStatistics(world.database.sql)).toEqual(before)
  })

  test('is a full pass where none has been completed yet', async () => {
    world = await createWorld({ users: seedUsers({ count: 30 }) })
    const { report } = await world.sync(incremental)
    expect(report).toMatchObject({ pass: 'full', status: 'succeeded', counts: { created: 30 } })
  })

  test('sees 50 updates and 10 sign-ups in at most 6 requests', async () => {
    await settledWorld(1200)
    world.sandbox.clock.advance(60 * 60_000)
    const users = world.sandbox.users.all()
    for (const user of users.slice(0, 50)) world.sandbox.users.update(user.id, { first_name: 'Changed' })
    for (let index = 0; index < 10; index++) world.sandbox.users.create()
    const { report } = await world.sync(incremental)
    expect(report).toMatchObject({ pass: 'incremental', counts: { created: 10, updated: 50 } })
    expect(report.requests.total).toBeLessThanOrEqual(6)
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('reads on through many pages of changes', async () => {
    await settledWorld(1200)
    world.sandbox.clock.advance(60 * 60_000)
    for (const user of world.sandbox.users.all().slice(0, 900)) world.sandbox.users.signIn(user.id)
    const { report } = await world.sync({ ...incremental, pageSize: 200 })
    expect(report).toMatchObject({ pass: 'incremental', counts: { refreshed: 900 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('reads on behind a full page of users whom it knows: others have changed and pushed them back', async () => {
    await settledWorld(1200)
    world.sandbox.clock.advance(60 * 60_000)
    const users = world.sandbox.users.all()
    const change = (some: typeof users, name: string) => {
      for (const { id } of some) world.sandbox.users.update(id, { first_name: name })
    }
    for (const user of users.slice(0, 700)) {
      change([user], 'Changed')
      world.sandbox.clock.advance(5000)
    }
    let lists = 0
    world.sandbox.onRequest = ({ endpoint }) => {
      if (endpoint === 'list' && ++lists === 3) change(users.slice(700), 'Later')
    }
    const { report } = await world.sync(incremental)
    expect(report).toMatchObject({ pass: 'incremental', status: 'succeeded' })
    const [rows, wanted] = [await world.rows(), world.wanted()]
    for (const { id } of users.slice(0, 700)) expect(rows.get(id)).toEqual(wanted.get(id))
  })

  test('that steps up counts and shows each change once, also in a dry run', async () => {
    await settledWorld(100)
    world.sandbox.clock.advance(60 * 60_000)
    const [deleted, updated] = world.sandbox.users.all()
    world.sandbox.users.create()
    world.sandbox.users.update(updated?.id ?? '', { first_name: 'Changed' })
    world.sandbox.users.delete(deleted?.id ?? '')
    const expected = { pass: 'full', counts: { created: 1, updated: 1, deleted: 1 } }
    const { report, changes } = await world.sync({ ...incremental, dryRun: true })
    expect(report).toMatchObject(expected)
    expect(changes.map((change) => change.kind).sort()).toEqual(['create', 'delete', 'update'])
    expect((await world.sync(incremental)).report).toMatchObject(expected)
  })

  test('is followed by a full pass when deletions were missed, and the rows go', async () => {
    await settledWorld(300)
    for (const user of world.sandbox.users.all().slice(0, 3)) world.sandbox.users.delete(user.id)
    world.sandbox.clock.advance(60 * 60_000)
    const { report } = await world.sync(incremental)
    expect(report).toMatchObject({ pass: 'full', status: 'succeeded', counts: { deleted: 3 } })
    expect((await world.sync(incremental)).report).toMatchObject({
      pass: 'incremental',
      requests: { total: 4 },
    })
  })

  test('stays at four requests with a user rejected for good, and still says so', async () => {
    await settledWorld(100)
    world.sandbox.users.create({ email_addresses: 'none' as never })
    expect((await world.sync()).report).toMatchObject({ status: 'partial', counts: { rejected: 1 } })
    for (let run = 0; run < 2; run++) {
      const { report } = await world.sync(incremental)
      expect(report).toMatchObject({ pass: 'incremental', status: 'partial', counts: { rejected: 1 } })
      expect(report.requests.total).toBe(4)
    }
  })

  test('stays at four requests with deletions withheld, and still says so', async () => {
    await settledWorld(1500)
    for (const user of world.sandbox.users.all().slice(0, 600)) world.sandbox.users.delete(user.id)
    world.sandbox.clock.advance(60 * 60_000)
    const stepped = await world.sync(incremental)
    expect(stepped.report).toMatchObject({ pass: 'full', status: 'withheld', counts: { withheld: 600 } })
    for (let run = 0; run < 2; run++) {
      const { report } = await world.sync(incremental)
      expect(report).toMatchObject({ pass: 'incremental', status: 'withheld', counts: { withheld: 600 } })
      expect(report.requests.total).toBe(4)
    }
    expect((await world.sync({ approveDeletes: 600 })).report).toMatchObject({ status: 'succeeded' })
    expect((await world.sync(incremental)).report).toMatchObject({ status: 'succeeded', pass: 'incremental' })
  })

  test('stays at four requests with rows kept by policy', async () => {
    await settledWorld(100)
    const upsertOnly = { policy: 'upsert-only' } as const
    for (const user of world.sandbox.users.all().slice(0, 5)) world.sandbox.users.delete(user.id)
    world.sandbox.clock.advance(60 * 60_000)
    await world.sync(upsertOnly)
    const { report } = await world.sync({ ...incremental, ...upsertOnly })
    expect(report).toMatchObject({ pass: 'incremental', status: 'succeeded', requests: { total: 4 } })
    expect(report.counts.withheld).toBe(5)
  })

  test('does not let one rejected user and one missed deletion cancel each other out', async () => {
    await settledWorld(100)
    const [gone] = world.sandbox.users.all()
    world.sandbox.users.delete(gone?.id ?? '')
    world.sandbox.clock.advance(60 * 60_000)
    world.sandbox.users.create({ email_addresses: 'none' as never })
    const { report } = await world.sync(incremental)
    expect(report).toMatchObject({ pass: 'full', status: 'partial', counts: { deleted: 1, rejected: 1 } })
  })

  test('is a full pass again once the youngest pending row has settled', async () => {
    await settledWorld(100)
    const fresh = world.sandbox.users.create()
    await world.sync()
    world.sandbox.users.delete(fresh.id)
    expect((await world.sync()).report).toMatchObject({
      counts: { pending: 1, deleted: 0 },
      status: 'succeeded',
    })
    expect((await world.sync(incremental)).report).toMatchObject({
      pass: 'incremental',
      requests: { total: 4 },
    })
    world.sandbox.clock.advance(11 * 60_000)
    await world.database
      .sql`update clerk_sync.state set full_pass_due_at = full_pass_due_at - interval '11 minutes'`
    expect((await world.sync(incremental)).report).toMatchObject({ pass: 'full', counts: { deleted: 1 } })
    expect((await world.sync(incremental)).report).toMatchObject({ pass: 'incremental' })
  })
})

describe('one user', () => {
  const lines = () =>
    world.database
      .sql`select pass, status, deleted, counts ->> 'deleted' as reported from clerk_sync.runs order by id`

  test('has a line in the ledger, with what was deleted, while another run holds the lease; a dry run has none', async () => {
    await settledWorld(20)
    const [gone] = world.sandbox.users.all()
    const one = { pass: 'user', userId: gone?.id ?? '' } as const
    world.sandbox.users.delete(one.userId)
    expect((await world.sync({ ...one, dryRun: true })).report).toMatchObject({ runId: null })
    await world.database.sql`truncate clerk_sync.runs restart identity`
    await world.database.sql`insert into clerk_sync.runs (pass, trigger, status, host)
      values ('full', 'cli', 'running', 'another')`
    expect((await world.sync(one)).report).toMatchObject({
      runId: 2,
      status: 'succeeded',
      counts: { deleted: 1 },
    })
    expect(await lines()).toEqual([
      { pass: 'full', status: 'running', deleted: 0, reported: null },
      { pass: 'user', status: 'succeeded', deleted: 1, reported: '1' },
    ])
  })

  test('is created, updated and deleted alone', async () => {
    await settledWorld(20)
    const fresh = world.sandbox.users.create()
    const one = { pass: 'user', userId: fresh.id } as const
    expect((await world.sync(one)).report).toMatchObject({ pass: 'user', counts: { created: 1 } })
    world.sandbox.users.update(fresh.id, { first_name: 'Ada' })
    expect((await world.sync(one)).report).toMatchObject({ counts: { updated: 1 } })
    world.sandbox.users.delete(fresh.id)
    expect((await world.sync(one)).report).toMatchObject({ counts: { pending: 1, deleted: 0 } })
    world.sandbox.clock.advance(20 * 60_000)
    expect((await world.sync({ ...one, policy: 'upsert-only' })).report.counts).toMatchObject({ withheld: 1 })
    expect((await world.sync(one)).report).toMatchObject({ status: 'succeeded', counts: { deleted: 1 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('keeps its row when only one of two endpoints denies it', async () => {
    await settledWorld(20)
    const [user] = world.sandbox.users.all()
    world.sandbox.faults.add({ endpoint: 'user', kind: 404, times: Number.POSITIVE_INFINITY })
    const { report } = await world.sync({ pass: 'user', userId: user?.id ?? '' })
    expect(report.counts.deleted).toBe(0)
    expect(await world.rows()).toEqual(world.wanted())
  })
})
