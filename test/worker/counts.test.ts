// Two counts and a listing by change in place of a full pass: what they show, what they cost, and that no coincidence or
// lie makes them hide a difference for good, or chase one for ever.
import { expect, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { createClock } from '../../src/dev/sandbox/sandbox.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { SyncError } from '../../src/errors.ts'
import { deliverDeletion } from '../../src/sync/webhook.ts'
import { openShopForTest, reportOf } from '../cli/command.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type SyncOptions, type World } from '../support/world.ts'

const minuteMs = 60_000
const always = Number.POSITIVE_INFINITY
const incremental = { pass: 'incremental' } as const
const malformed = { email_addresses: 'none' as never }

/** A world after a full pass, an hour later; its clock moves only by hand. */
async function settled(
  context: { onTestFinished(run: () => Promise<void>): void },
  count: number,
  options: SyncOptions = {},
): Promise<World> {
  const clock = createClock({ at: Date.UTC(2026, 5, 1, 12), frozen: true })
  const world = await createWorld({ users: seedUsers({ count, seed: 3 }), clock })
  context.onTestFinished(world.close)
  await world.sync(options)
  clock.advance(60 * minuteMs)
  return world
}

/** Runs so many incremental passes, some minutes apart. Gives what each of them was in the end. */
async function passes(world: World, times: number, options: SyncOptions = {}) {
  const found: string[] = []
  for (let run = 0; run < times; run++) {
    const { report } = await world.sync({ ...incremental, ...options })
    found.push(
      `${report.pass} ${report.status} ${report.pass === 'full' ? '' : report.requests.total}`.trim(),
    )
    world.sandbox.clock.advance(minuteMs)
  }
  return found
}

/** Lets the deadline of the next full pass come. */
const graceOver = async (world: World) => {
  world.sandbox.clock.advance(11 * minuteMs)
  await world.database.sql`
    update clerk_sync.state set full_pass_due_at = full_pass_due_at - interval '11 minutes'`
}

const idsOf = (world: World, count: number) =>
  world.sandbox.users
    .all()
    .slice(0, count)
    .map((user) => user.id)

/** Those who changed longest ago: no page of an incremental pass has them. */
const longUnchanged = (world: World, count: number) =>
  world.sandbox.users
    .all()
    .sort((a, b) => a.updated_at - b.updated_at)
    .slice(0, count)
    .map((user) => user.id)

test('among 100,000 users a quiet pass makes 4 requests and no write, and 50 updates with 10 sign-ups make at most 6', async (context) => {
  const count = 100_000
  const world = await settled(context, count)
  const before = await tableStatistics(world.database.sql)
  expect((await world.sync(incremental)).report).toMatchObject({
    pass: 'incremental',
    status: 'succeeded',
    requests: { total: 4 },
    counts: { created: 0, updated: 0, refreshed: 0, deleted: 0 },
  })
  expect(await tableStatistics(world.database.sql)).toEqual(before)
  for (const id of idsOf(world, 50)) world.sandbox.users.update(id, { first_name: 'Changed' })
  const fresh = Array.from({ length: 10 }, () => world.sandbox.users.create().id)
  const { report } = await world.sync(incremental)
  expect(report).toMatchObject({ pass: 'incremental', counts: { created: 10, updated: 50 } })
  expect(report.requests.total).toBeLessThanOrEqual(6)
  const rows = await world.rows()
  expect(rows.size).toBe(count + 10)
  expect(fresh.filter((id) => !rows.has(id))).toEqual([])
  expect(idsOf(world, 50).filter((id) => rows.get(id)?.name.startsWith('Changed') !== true)).toEqual([])
})

test.concurrent('as commands: missed deletions are 0 after a full pass, a user rejected for good 4, withheld deletions 3', async (context) => {
  const shop = await openShopForTest(context, { count: 800 })
  const run = async (...flags: string[]) => {
    const ended = await shop.run(['sync', '--json', ...flags])
    const { pass, status, counts, requests } = reportOf(ended)
    return { code: ended.code, pass, status, counts, requests: requests.total }
  }
  expect((await run()).code).toBe(0)
  for (const id of idsOf(shop, 3)) shop.sandbox.users.delete(id)
  expect(await run('--incremental')).toMatchObject({ code: 0, pass: 'full', counts: { deleted: 3 } })
  expect(await shop.rows()).toEqual(shop.wanted())

  const odd = shop.sandbox.users.create(malformed).id
  expect(await run('--incremental')).toMatchObject({ code: 4, pass: 'incremental', counts: { rejected: 1 } })
  expect(await run('--incremental')).toMatchObject({ code: 4, pass: 'incremental', requests: 4 })
  shop.sandbox.users.delete(odd)
  expect(await run('--incremental')).toMatchObject({ code: 0, pass: 'full' })

  for (const id of idsOf(shop, 600)) shop.sandbox.users.delete(id)
  expect(await run('--incremental')).toMatchObject({ code: 3, pass: 'full', counts: { withheld: 600 } })
  const quiet = { pass: 'incremental', requests: 4, counts: { withheld: 600 } }
  expect(await run('--incremental')).toMatchObject({ code: 3, ...quiet })
  expect((await shop.rows()).size).toBe(797)
})

test.concurrent('as commands: under upsert-only rows without a user are no reason for more than 4 requests', async (context) => {
  const shop = await openShopForTest(context, { count: 30 })
  const run = (...flags: string[]) => shop.run(['sync', '--json', ...flags], { SYNC_POLICY: 'upsert-only' })
  await run()
  for (const id of idsOf(shop, 5)) shop.sandbox.users.delete(id)
  for (let pass = 0; pass < 2; pass++) {
    const ended = await run('--incremental')
    expect(ended.code).toBe(0)
    expect(reportOf(ended)).toMatchObject({
      pass: 'incremental',
      status: 'succeeded',
      requests: { total: 4 },
    })
  }
  expect((await shop.rows()).size).toBe(30)
})

test.concurrent('under upsert-only a table that is short is still chased', async (context) => {
  const world = await settled(context, 200)
  const [id = ''] = longUnchanged(world, 1)
  await world.database.sql`delete from users where clerk_id = ${id}`
  expect(await passes(world, 2, { policy: 'upsert-only' })).toEqual([
    'full succeeded',
    'incremental succeeded 4',
  ])
  expect(await world.rows()).toEqual(world.wanted())
})

test.concurrent('one rejected user and one missed deletion do not cancel out, in whichever order they come', async (context) => {
  const world = await settled(context, 60)
  const [first = '', second = ''] = idsOf(world, 2)
  world.sandbox.users.create(malformed)
  world.sandbox.users.delete(first)
  expect((await passes(world, 2)).map((line) => line.split(' ')[0])).toEqual(['full', 'incremental'])
  expect((await world.rows()).has(first)).toBe(false)
  // Now the rejected one is known, and another comes together with another deletion.
  world.sandbox.users.create(malformed)
  world.sandbox.users.delete(second)
  expect((await passes(world, 2)).map((line) => line.split(' ')[0])).toEqual(['full', 'incremental'])
  expect((await world.rows()).has(second)).toBe(false)
})

test.concurrent('webhooks that delete withheld rows bring the number down, without a full pass', async (context) => {
  const world = await settled(context, 700)
  const gone = idsOf(world, 600)
  for (const id of gone) world.sandbox.users.delete(id)
  await passes(world, 1)
  const database = openDatabase(world.database.url)
  for (const id of gone.slice(0, 40)) await deliverDeletion(database, id, 'sync')
  await database.close()
  const { report } = await world.sync(incremental)
  expect(report).toMatchObject({ pass: 'incremental', status: 'withheld', counts: { withheld: 560 } })
  expect(report.requests.total).toBe(4)
  // One more deletion that nobody told of is a new difference.
  world.sandbox.users.delete(idsOf(world, 1)[0] ?? '')
  expect(await passes(world, 3)).toEqual([
    'full withheld',
    'incremental withheld 4',
    'incremental withheld 4',
  ])
  expect((await world.rows()).size).toBe(660)
})

test.concurrent('a rejected user who is deleted in Clerk costs one full pass, and the exit is clean again', async (context) => {
  const world = await settled(context, 40)
  const rowless = world.sandbox.users.create(malformed).id
  const [withRow = ''] = idsOf(world, 1)
  world.sandbox.users.update(withRow, malformed)
  expect(await passes(world, 2)).toEqual(['incremental partial 4', 'incremental partial 4'])
  world.sandbox.users.delete(rowless)
  expect(await passes(world, 2)).toEqual(['full partial', 'incremental partial 4'])
  world.sandbox.users.delete(withRow)
  await graceOver(world)
  expect(await passes(world, 2)).toEqual(['full succeeded', 'incremental succeeded 4'])
  expect(await world.rows()).toEqual(world.wanted())
})

test.concurrent('a rejected user whose row a webhook deletes costs at most one full pass', async (context) => {
  const world = await settled(context, 40)
  const [id = ''] = idsOf(world, 1)
  world.sandbox.users.update(id, malformed)
  await passes(world, 1)
  world.sandbox.users.delete(id)
  const database = openDatabase(world.database.url)
  await deliverDeletion(database, id, 'sync')
  await database.close()
  const found = await passes(world, 3)
  expect(found.filter((line) => line.startsWith('full')).length).toBeLessThanOrEqual(1)
  expect(found.at(-1)).toBe('incremental succeeded 4')
})

test.concurrent('a rejected user who is mended gets a row, and the exit is clean again', async (context) => {
  const world = await settled(context, 40)
  const { id } = world.sandbox.users.create(malformed)
  expect(await passes(world, 1)).toEqual(['incremental partial 4'])
  world.sandbox.users.update(id, { first_name: 'Mended', email_addresses: [] })
  expect(await passes(world, 2)).toEqual(['incremental succeeded 4', 'incremental succeeded 4'])
  expect(await world.rows()).toEqual(world.wanted())
})

test.concurrent('a count that is one too high for good is chased once, named every time, and chased once more when it ends', async (context) => {
  const world = await settled(context, 50)
  const lie = world.sandbox.faults.add({ endpoint: 'count', kind: 'count-high', times: always })
  const told = 'incremental partial 4'
  expect(await passes(world, 5)).toEqual(['full partial', told, told, told, told])
  await graceOver(world)
  expect(await passes(world, 2)).toEqual([told, told])
  // A deletion that nobody told of is not hidden by the lie.
  const [id = ''] = idsOf(world, 1)
  world.sandbox.users.delete(id)
  expect(await passes(world, 2)).toEqual(['full partial', told])
  expect((await world.rows()).has(id)).toBe(false)
  lie.remove()
  expect(await passes(world, 3)).toEqual([
    'full succeeded',
    'incremental succeeded 4',
    'incremental succeeded 4',
  ])
})

test.concurrent('a count that is one too low for good is chased once and once more after the grace', async (context) => {
  const world = await settled(context, 50)
  const lie = world.sandbox.faults.add({ endpoint: 'count', kind: 'count-low', times: always })
  const quiet = 'incremental succeeded 4'
  expect(await passes(world, 4)).toEqual(['full succeeded', quiet, quiet, quiet])
  await graceOver(world)
  expect(await passes(world, 4)).toEqual(['full succeeded', quiet, quiet, quiet])
  await graceOver(world)
  const [id = ''] = idsOf(world, 1)
  expect(await passes(world, 2)).toEqual([quiet, quiet])
  world.sandbox.users.delete(id)
  expect((await passes(world, 2)).map((line) => line.split(' ')[0])).toEqual(['full', 'incremental'])
  expect((await world.rows()).has(id)).toBe(false)
  lie.remove()
  await passes(world, 1)
  expect(await passes(world, 2)).toEqual([quiet, quiet])
})

test.concurrent('a sign-up and a deletion between the two counts are no difference, and the next pass has them', async (context) => {
  const world = await settled(context, 50)
  const [id = ''] = idsOf(world, 1)
  const beforeSecondCount = (change: () => void) => {
    const from = world.sandbox.requests.filter(({ endpoint }) => endpoint === 'count').length
    world.sandbox.onRequest = ({ endpoint }, ordinal) => {
      if (endpoint === 'count' && ordinal === from + 2) change()
    }
  }
  beforeSecondCount(() => void world.sandbox.users.create())
  expect(await passes(world, 2)).toEqual(['incremental succeeded 4', 'incremental succeeded 4'])
  expect(await world.rows()).toEqual(world.wanted())
  beforeSecondCount(() => void world.sandbox.users.delete(id))
  expect(await passes(world, 2)).toEqual(['incremental succeeded 4', 'full succeeded'])
  expect(await world.rows()).toEqual(world.wanted())
})

test.concurrent('a full pass during sign-ups is whole: those of its first second and those after its last page', async (context) => {
  const world = await settled(context, 50)
  // Clerk's `Date` is rounded down: this user is older than the pass, and younger than its `Date`.
  world.sandbox.clock.advance(300)
  world.sandbox.users.create()
  world.sandbox.clock.advance(300)
  const from = world.sandbox.requests.filter(({ endpoint }) => endpoint === 'count').length
  world.sandbox.onRequest = ({ endpoint }, ordinal) => {
    if (endpoint !== 'count' || ordinal !== from + 2) return
    world.sandbox.clock.advance(5000)
    world.sandbox.users.create()
  }
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'succeeded', notes: [], counts: { created: 1 } })
})

test.concurrent('a pass that is stopped in the middle leaves the watermark, and the next one misses nothing', async (context) => {
  const world = await settled(context, 900)
  const watermark = async () => (await world.database.sql`select watermark from clerk_sync.state`)[0]
  const before = await watermark()
  for (const id of idsOf(world, 500)) world.sandbox.users.update(id, { first_name: 'Changed' })
  const stop = new AbortController()
  const from = world.sandbox.requests.filter(({ endpoint }) => endpoint === 'list').length
  world.sandbox.onRequest = ({ endpoint }, ordinal) => {
    if (endpoint === 'list' && ordinal === from + 3) {
      stop.abort(new SyncError('aborted', 'stopped', { facts: { signal: 'SIGTERM' } }))
    }
  }
  const { report } = await world.sync({ ...incremental, pageSize: 100, stop })
  expect(report).toMatchObject({ status: 'aborted', pass: 'incremental' })
  expect(report.counts.updated).toBeGreaterThan(0)
  expect(await watermark()).toEqual(before)
  world.sandbox.onRequest = undefined
  const second = await world.sync({ ...incremental, pageSize: 100 })
  expect(second.report).toMatchObject({ status: 'succeeded', pass: 'incremental' })
  expect(report.counts.updated + second.report.counts.updated).toBe(500)
  expect(await world.rows()).toEqual(world.wanted())
})

test.concurrent.for([
  { what: 'has no version', parts: { updated_at: 'yesterday' as never } },
  { what: 'has a version of the next century', parts: { updated_at: Date.UTC(2126, 0) } },
  { what: 'cannot be mapped', parts: malformed },
])('a newest user who $what hides nobody else', async ({ parts }, context) => {
  const world = await settled(context, 300)
  world.sandbox.users.create({ ...parts })
  await passes(world, 2)
  world.sandbox.clock.advance(60 * minuteMs)
  const changed = idsOf(world, 200)
  for (const id of changed) world.sandbox.users.update(id, { first_name: 'Changed' })
  await passes(world, 1)
  const rows = await world.rows()
  expect(changed.filter((id) => rows.get(id)?.name.startsWith('Changed') !== true)).toEqual([])
})

test.concurrent('a listing by change that shifts under the reader leaves nobody out in the end', async (context) => {
  const world = await settled(context, 1200)
  const ids = idsOf(world, 1200)
  for (const id of ids.slice(0, 800)) world.sandbox.users.update(id, { first_name: 'Changed' })
  let page = 0
  world.sandbox.onRequest = ({ endpoint }) => {
    if (endpoint !== 'list') return
    page += 1
    world.sandbox.clock.advance(10)
    // Some come to the front, some go: the rest moves both ways.
    for (const id of ids.slice(page * 30, page * 30 + 15)) world.sandbox.users.signIn(id)
    for (const id of ids.slice(400 + page * 40, 400 + page * 40 + 30)) world.sandbox.users.delete(id)
  }
  await world.sync({ ...incremental, pageSize: 100 })
  world.sandbox.onRequest = undefined
  await graceOver(world)
  await world.sync({ ...incremental, maxDeletes: 1000 })
  expect(await world.rows()).toEqual(world.wanted())
})

test.concurrent('rows that the app took away by hand come back', async (context) => {
  const world = await settled(context, 200)
  await world.database.sql`delete from users where clerk_id = any(${longUnchanged(world, 7)})`
  expect(await passes(world, 2)).toEqual(['full succeeded', 'incremental succeeded 4'])
  expect(await world.rows()).toEqual(world.wanted())
})

test.concurrent('counts that lag behind are asked again before anything is chased', async (context) => {
  const world = await settled(context, 60)
  world.sandbox.users.create()
  world.sandbox.clock.advance(1000)
  world.sandbox.countLagMs = 5000
  const from = world.sandbox.requests.filter(({ endpoint }) => endpoint === 'count').length
  world.sandbox.onRequest = ({ endpoint }, ordinal) => {
    if (endpoint === 'count' && ordinal === from + 3) world.sandbox.countLagMs = 0
  }
  expect(await passes(world, 1)).toEqual(['incremental succeeded 5'])
  expect(await world.rows()).toEqual(world.wanted())
})
