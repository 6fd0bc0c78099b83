// Rows that no run of ours would have left: each is equal again after one run, or once its grace is over, and then quiet.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type World } from '../support/world.ts'

const count = 40
const minute = 60_000
let world: World

beforeEach(async () => {
  world = await createWorld({ users: seedUsers({ count, seed: 9 }) })
  await world.sync()
})
afterEach(() => world.close())

/** Small pages, so that the rows lie in different spans. */
const sync = () => world.sync({ pageSize: 7 })
const userAt = (index: number) => world.sandbox.users.all()[index]?.id ?? ''

/** Bends the rows of a user who lives and of one who is gone from Clerk. Gives the two. */
async function bend(assignments: string): Promise<{ live: string; gone: string }> {
  const [live, gone] = [userAt(12), userAt(25)]
  await world.database.sql.unsafe(`alter table users alter created_at drop not null;
    update users set ${assignments} where clerk_id in ('${live}', '${gone}')`)
  world.sandbox.users.delete(gone)
  return { live, gone }
}

async function expectQuiet() {
  const before = await tableStatistics(world.database.sql)
  const { report } = await sync()
  expect(report).toMatchObject({
    status: 'succeeded',
    counts: { unchanged: world.sandbox.users.size, updated: 0, refreshed: 0, deleted: 0, pending: 0 },
  })
  expect(await tableStatistics(world.database.sql)).toEqual(before)
}

const wrongName = `name = 'Wrong', email = 'wrong@example.com'`
const noTimes = 'clerk_created_at = null, clerk_updated_at = null'
const clerkNow = (seconds: number) => `now() + interval '${seconds} seconds'`

const odd: [says: string, assignments: string][] = [
  ['an adopted row that is two days old', `${noTimes}, created_at = now() - interval '2 days'`],
  ['an adopted row that is years old', `${noTimes}, created_at = '2020-01-01'`],
  ['an adopted row with other values', `${noTimes}, ${wrongName}, created_at = '2020-01-01'`],
  ['a row without a version, but with a creation time', `clerk_updated_at = null, created_at = '2020-01-01'`],
  ['a row with a version, but without a creation time', 'clerk_created_at = null'],
  ['a version a millisecond ahead of Clerk’s', `clerk_updated_at = clerk_updated_at + interval '1 ms'`],
  ['the same with other values', `clerk_updated_at = clerk_updated_at + interval '1 ms', ${wrongName}`],
  ['a version older than the grace by a minute', `clerk_updated_at = ${clerkNow(-11 * 60)}, ${wrongName}`],
  ['a version beyond the grace in the future', `clerk_updated_at = ${clerkNow(11 * 60)}, ${wrongName}`],
  ['a version years ahead', `clerk_updated_at = '2090-02-03', ${wrongName}`],
  ['a version that no ISO date can name', `clerk_updated_at = '20000-01-01', ${wrongName}`],
  ['a version of infinity', `clerk_updated_at = 'infinity', ${wrongName}`],
  ['a version of infinity, values as they should be', `clerk_updated_at = 'infinity'`],
  ['a version of minus infinity', `clerk_updated_at = '-infinity', ${wrongName}`],
  ['a version before Christ', `clerk_updated_at = '0044-03-15 BC'`],
  ['an older version', `clerk_updated_at = '2001-01-01'`],
  ['a creation time a millisecond too early', `clerk_created_at = clerk_created_at - interval '1 ms'`],
  ['a creation time a millisecond too late', `clerk_created_at = clerk_created_at + interval '1 ms'`],
  ['a creation time years too early', `clerk_created_at = '1970-01-01'`],
  ['a creation time years too late', `clerk_created_at = '2090-01-01'`],
  ['a creation time before Christ', `clerk_created_at = '4000-01-01 BC'`],
  ['a creation time that no ISO date can name', `clerk_created_at = '20000-01-01'`],
  ['a creation time of infinity', `clerk_created_at = 'infinity'`],
  ['a creation time of minus infinity', `clerk_created_at = '-infinity'`],
  [
    'both times of infinity and other values',
    `clerk_created_at = 'infinity', clerk_updated_at = 'infinity', ${wrongName}`,
  ],
  ['values edited by hand', wrongName],
  ['values emptied by hand', `name = '', email = null, image_url = ''`],
]

test('rows of every odd kind are equal again after one run, gone where the user is, and quiet from then on', async () => {
  const { sql } = world.database
  await sql`alter table users alter created_at drop not null`
  for (const user of seedUsers({ count: odd.length * 2, seed: 10 })) world.sandbox.users.putRaw(user)
  await world.sync()
  // Neighbours in time, so that the odd times stand among each other.
  const ids = seedUsers({ count: odd.length * 2, seed: 10 }).map((user) => user.id)
  const kinds = odd.map(([says, assignments], index) => {
    const [live, gone] = ids.slice(2 * index, 2 * index + 2) as [string, string]
    return { says, assignments, live, gone }
  })
  for (const { assignments, live, gone } of kinds) {
    await sql.unsafe(`update users set ${assignments} where clerk_id in ('${live}', '${gone}')`)
    world.sandbox.users.delete(gone)
  }
  const before = await world.rows()
  const wanted = world.wanted()
  for (const { says, live } of kinds) expect(before.get(live), says).not.toEqual(wanted.get(live))

  const { report } = await world.sync({ pageSize: 7, maxDeletes: 1000 })
  expect(report).toMatchObject({
    status: 'succeeded',
    counts: { created: 0, deleted: odd.length, unchanged: count, pending: 0, withheld: 0, rejected: 0 },
  })
  expect(report.counts.updated + report.counts.refreshed).toBe(odd.length)
  const after = await world.rows()
  for (const { says, live, gone } of kinds) {
    expect(after.get(live), says).toEqual(wanted.get(live))
    expect(after.has(gone), says).toBe(false)
  }
  expect(after).toEqual(wanted)
  await expectQuiet()
})

describe('a row alone', () => {
  test.each([
    ['adopted', `${noTimes}, created_at = '2020-01-01'`],
    ['with a version of infinity and other values', `clerk_updated_at = 'infinity', ${wrongName}`],
    ['with a creation time of infinity', `clerk_created_at = 'infinity'`],
    ['with a creation time years too early', `clerk_created_at = '1970-01-01'`],
  ])('%s is equal again after one run', async (_says, assignments) => {
    await bend(assignments)
    expect((await sync()).report).toMatchObject({
      status: 'succeeded',
      counts: { seen: count - 1, unchanged: count - 2, deleted: 1, pending: 0 },
    })
    expect(await world.rows()).toEqual(world.wanted())
    await expectQuiet()
  })
})

describe('pending first, equal once the grace is over', () => {
  test.each([
    ['a version of this minute', `clerk_updated_at = ${clerkNow(-60)}, ${wrongName}`, 10],
    ['a version of a minute within the grace', `clerk_updated_at = ${clerkNow(-9 * 60)}`, 2],
    ['a version a few minutes ahead', `clerk_updated_at = ${clerkNow(9 * 60)}, ${wrongName}`, 20],
  ])('%s', async (_says, assignments, minutes) => {
    const { live } = await bend(assignments)
    const before = await world.rows()
    const { report } = await sync()
    expect(report).toMatchObject({
      status: 'succeeded',
      counts: { unchanged: count - 2, updated: 0, refreshed: 0, deleted: 0, pending: 2 },
    })
    expect(await world.rows()).toEqual(before)
    world.sandbox.clock.advance(minutes * minute)
    expect((await sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 1, pending: 0 } })
    expect((await world.rows()).get(live)).toEqual(world.wanted().get(live))
    expect(await world.rows()).toEqual(world.wanted())
    await expectQuiet()
  })

  test('an adopted row younger than a day: the live one is equal at once, the other goes a day later', async () => {
    const { live, gone } = await bend(`${noTimes}, ${wrongName}, created_at = now() - interval '23 hours'`)
    expect((await sync()).report).toMatchObject({
      status: 'succeeded',
      counts: { updated: 1, deleted: 0, pending: 1 },
    })
    const rows = await world.rows()
    expect(rows.get(live)).toEqual(world.wanted().get(live))
    expect(rows.has(gone)).toBe(true)
    // Its own creation time tells its age.
    expect(await world.database.sql`select clerk_id from clerk_sync.first_seen`).toHaveLength(0)
    // Not Clerk's clock: the row has no time of Clerk's.
    world.sandbox.clock.advance(48 * 60 * minute)
    expect((await sync()).report.counts).toMatchObject({ deleted: 0, pending: 1 })
    await world.database
      .sql`update users set created_at = created_at - interval '1 hour 1 minute' where clerk_id = ${gone}`
    expect((await sync()).report.counts).toMatchObject({ deleted: 1, pending: 0 })
    await expectQuiet()
  })
})

describe('a row without a version whose creation time says nothing about its age', () => {
  const firstSeen = () =>
    world.database.sql<{ clerk_id: string }[]>`select clerk_id from clerk_sync.first_seen`
  const passDay = () =>
    world.database
      .sql`update clerk_sync.first_seen set first_seen_at = first_seen_at - interval '24 hours 1 second'`
  const expectPending = async () => {
    const { report } = await sync()
    expect(report).toMatchObject({ status: 'succeeded', counts: { deleted: 0, pending: 1 } })
    expect(report.notes).toContainEqual(expect.stringContaining('until a day after they were first met'))
  }

  test.each([
    ['null', 'null'],
    ['infinite', `'infinity'`],
    ['minus infinity', `'-infinity'`],
    ['yet to come', `now() + interval '1 minute'`],
    ['centuries ahead', `'2525-01-01'`],
  ])('%s: the row of a user who is gone goes a day after it was first met', async (_says, createdAt) => {
    const { live, gone } = await bend(`${noTimes}, created_at = ${createdAt}`)
    await expectPending()
    expect((await world.rows()).has(gone)).toBe(true)
    expect((await world.rows()).get(live)).toEqual(world.wanted().get(live))
    expect(await firstSeen()).toEqual([{ clerk_id: gone }])
    await world.database
      .sql`update clerk_sync.first_seen set first_seen_at = first_seen_at - interval '23 hours 59 minutes'`
    await expectPending()
    // Met anew, it would have to wait for another day.
    await world.database
      .sql`update clerk_sync.first_seen set first_seen_at = first_seen_at - interval '2 minutes'`
    expect((await sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 1, pending: 0 } })
    expect(await firstSeen()).toEqual([])
    await expectQuiet()
  })

  test('a full pass is due a day later', async () => {
    await bend(`${noTimes}, created_at = null`)
    await sync()
    const [state] = await world.database.sql`
      select full_pass_due_at - now() between interval '23 hours' and interval '1 day' as due from clerk_sync.state`
    expect(state).toEqual({ due: true })
  })

  test('a dry run counts it as pending and writes nothing', async () => {
    await bend(`${noTimes}, created_at = null`)
    const { report } = await world.sync({ dryRun: true })
    expect(report.counts).toMatchObject({ deleted: 0, pending: 1 })
    expect(report.notes).toContainEqual(expect.stringContaining('until a day after they were first met'))
    expect(await firstSeen()).toEqual([])
  })

  test('a single user goes by the same rule', async () => {
    const { gone } = await bend(`${noTimes}, created_at = null`)
    const one = { pass: 'user', userId: gone } as const
    expect((await world.sync(one)).report.counts).toMatchObject({ deleted: 0, pending: 1 })
    expect(await firstSeen()).toEqual([{ clerk_id: gone }])
    await passDay()
    expect((await world.sync(one)).report.counts).toMatchObject({ deleted: 1, pending: 0 })
  })

  test('is forgotten once it has a version, or is gone', async () => {
    const { gone } = await bend(`${noTimes}, created_at = null`)
    await sync()
    const [other] = [userAt(3)]
    await world.database.sql`insert into clerk_sync.first_seen (clerk_id) values (${other}), ('user_nobody')`
    await sync()
    expect(await firstSeen()).toEqual([{ clerk_id: gone }])
  })

  test('a first meeting in the future, of a clock that was ahead, begins anew', async () => {
    const { gone } = await bend(`${noTimes}, created_at = null`)
    await world.database.sql`insert into clerk_sync.first_seen values (${gone}, now() + interval '1 year')`
    await expectPending()
    const [met] = await world.database.sql`select first_seen_at <= now() as past from clerk_sync.first_seen`
    expect(met).toEqual({ past: true })
  })
})

test('no row goes, however old, while Clerk’s answers carry no date', async () => {
  const { gone } = await bend(`${noTimes}, created_at = '2020-01-01'`)
  world.sandbox.users.delete(userAt(3))
  world.sandbox.dateHeader = false
  const { report } = await sync()
  expect(report).toMatchObject({ status: 'partial', counts: { refreshed: 1, deleted: 0, pending: 2 } })
  expect((await world.rows()).has(gone)).toBe(true)
  world.sandbox.dateHeader = true
  expect((await sync()).report.counts).toMatchObject({ deleted: 2, pending: 0 })
  expect(await world.rows()).toEqual(world.wanted())
})

test('a row that is written between Clerk’s denial and its deletion stays, pending, until that version has settled', async () => {
  const gone = userAt(5)
  world.sandbox.users.delete(gone)
  world.sandbox.users.delete(userAt(6))
  world.sandbox.onRequest = async ({ endpoint, path }) => {
    // The last question before the deletion.
    if (endpoint === 'user' && path.endsWith(gone))
      await world.database
        .sql`update users set clerk_updated_at = now(), name = 'Late' where clerk_id = ${gone}`
  }
  expect((await sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 1, pending: 1 } })
  expect((await world.rows()).get(gone)?.name).toBe('Late')
  world.sandbox.onRequest = undefined
  expect((await sync()).report.counts).toMatchObject({ deleted: 0, pending: 1 })
  world.sandbox.clock.advance(11 * minute)
  expect((await sync()).report.counts).toMatchObject({ deleted: 1, pending: 0 })
  expect(await world.rows()).toEqual(world.wanted())
})

describe('a version that Clerk’s listing does not explain', () => {
  test('stays while Clerk, asked for that user, gives no answer, and is counted pending', async () => {
    const { live } = await bend(`clerk_updated_at = 'infinity', ${wrongName}`)
    world.sandbox.userIdFilter = new Set([live])
    const { report } = await sync()
    expect(report.counts).toMatchObject({ updated: 0, pending: 1, deleted: 1 })
    expect((await world.rows()).get(live)?.name).toBe('Wrong')
    world.sandbox.userIdFilter = 'normal'
    await sync()
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('is not overwritten where the row has moved on since it was judged', async () => {
    const { live } = await bend(`clerk_updated_at = '2090-01-01', ${wrongName}`)
    const { sql } = world.database
    world.sandbox.onRequest = async ({ query }) => {
      if (query.getAll('user_id').includes(live))
        await sql`update users set clerk_updated_at = '2091-01-01', name = 'Moved' where clerk_id = ${live}`
    }
    expect((await sync()).report.counts).toMatchObject({ updated: 0, pending: 1 })
    expect((await world.rows()).get(live)?.name).toBe('Moved')
    world.sandbox.onRequest = undefined
    await sync()
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('costs one request for up to a hundred such rows of a page', async () => {
    await world.database.sql`update users set clerk_updated_at = 'infinity', name = 'Wrong'`
    const { report } = await world.sync()
    expect(report.counts).toMatchObject({ updated: count })
    expect(await world.rows()).toEqual(world.wanted())
    const asked = world.sandbox.requests.filter(({ query }) => query.has('user_id'))
    expect(asked).toHaveLength(1)
  })
})

test('rows that are not ours are never asked for, counted, changed or deleted', async () => {
  const { sql } = world.database
  const [like] = [userAt(0)]
  const strangers = [
    'org_2abc',
    'user_',
    'user_with-dash',
    `${like} `,
    ` ${like}`,
    `${like}\n`,
    like.toUpperCase(),
    'x',
    '',
  ]
  for (const id of strangers) {
    await sql`insert into users (clerk_id, name, image_url, created_at, clerk_created_at, clerk_updated_at)
      values (${id}, 'App', '', '2020-01-01', '2020-01-01', '2020-01-01')`
  }
  await sql`insert into users (clerk_id, name, image_url, created_at) values ('service', 'App', '', '2020-01-01')`
  const look = () => sql`select u.*, xmin::text from users u where name = 'App' order by clerk_id`
  const before = await look()
  expect(before).toHaveLength(strangers.length + 1)
  for (let index = 0; index < 5; index++) world.sandbox.users.delete(userAt(0))
  const { report } = await sync()
  expect(report).toMatchObject({
    status: 'succeeded',
    counts: { seen: count - 5, unchanged: count - 5, deleted: 5, pending: 0, withheld: 0, rejected: 0 },
  })
  expect(await look()).toEqual(before)
  const asked = world.sandbox.requests.flatMap(({ query, path }) => [...query.getAll('user_id'), path])
  for (const id of strangers.slice(0, 6)) expect(asked).not.toContain(id)
  expect((await sync()).report.counts).toMatchObject({ unchanged: count - 5, pending: 0 })
  expect(await look()).toEqual(before)
})
