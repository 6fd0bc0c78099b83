// Addresses that change hands under a unique constraint: swapped, handed on along a chain or in a circle, or taken over by
// users with new ids. Each lands in one run; what cannot is rejected by name, and no row is left blank.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { createWorld, type SyncOptions, type World } from '../support/world.ts'

const noFlags = { detailedExitcode: false, skipIfRunning: false }
let world: World
afterEach(() => world.close())

const run = (ddl: string) => world.database.sql.unsafe(ddl)
const uniqueEmail = 'create unique index one_address on users (email)'
const addressOf = (id: string) => `${id.toLowerCase()}@example.com`
const setEmail = (id: string, email: string) => world.sandbox.users.update(id, { email_address: email })

/** A world in which each user has the address of its id, and a table that follows it. Returns the ids by creation. */
async function worldOf(count: number, constraint = uniqueEmail): Promise<string[]> {
  world = await createWorld({ users: seedUsers({ count, seed: 11 }) })
  const ids = world.sandbox.users.all().map(({ id }) => id)
  for (const id of ids) setEmail(id, addressOf(id))
  world.sandbox.clock.advance(3600_000)
  expect((await world.sync()).report.status).toBe('succeeded')
  await run(constraint)
  return ids
}

/** Each of these users gets the address of the one before it, the first that of the last. */
function turn(circle: readonly string[]): void {
  circle.forEach((id, index) => void setEmail(id, addressOf(circle.at(index - 1) ?? '')))
}

async function expectEqual(options: SyncOptions, updated: number) {
  const outcome = await world.sync(options)
  expect(outcome.report).toMatchObject({
    status: 'succeeded',
    error: null,
    counts: { updated, created: 0, deleted: 0, pending: 0, rejected: 0 },
  })
  expect(exitCodeOf(outcome, noFlags)).toBe(0)
  expect(await world.rows()).toEqual(world.wanted())
  return outcome
}

describe('addresses handed on in a circle', () => {
  const constraints: [says: string, ddl: string][] = [
    ['an index', uniqueEmail],
    ['an index on the lower case', 'create unique index one_address on users (lower(email))'],
    ['a partial index', `create unique index one_address on users (email) where email like '%@%'`],
    [
      'a constraint on a column that takes no null',
      'alter table users alter email set not null, add unique (email)',
    ],
    [
      'an index where two nulls are the same',
      'create unique index one_address on users (email) nulls not distinct',
    ],
    ['a constraint that is deferred', 'alter table users add unique (email) deferrable initially deferred'],
    ['a constraint that may be deferred', 'alter table users add unique (email) deferrable'],
    ['an index with another column', 'create unique index one_address on users (image_url, lower(email))'],
    ['an exclusion', 'alter table users add constraint one_address exclude (email with =)'],
  ]

  test.each(constraints)('by two users on two pages land in one run, under %s', async (_says, constraint) => {
    const ids = await worldOf(30, constraint)
    if (constraint.includes('image_url')) {
      for (const id of ids) world.sandbox.users.update(id, { image_url: '' } as never)
      await world.sync()
    }
    turn([ids[3], ids[25]] as string[])
    await expectEqual({ pageSize: 7 }, 2)
  })

  test.each(['full', 'incremental'] as const)('of any length land in one %s pass', async (pass) => {
    const ids = await worldOf(40)
    turn(ids.slice(0, 2))
    turn(ids.slice(4, 7))
    turn(ids.slice(10, 25))
    await expectEqual({ pass, pageSize: 9 }, 20)
  })

  test('of 150 users, more than one constraint may refuse, land in one run', async () => {
    const ids = await worldOf(150)
    turn(ids)
    await expectEqual({}, 150)
    await expectEqual({}, 0)
  })

  test('land although another address is held by a row that nobody may touch; those behind that one stay, by name', async () => {
    const ids = await worldOf(30)
    const [a, b, c, d, e] = ids.slice(3, 8) as [string, string, string, string, string]
    await run(
      `insert into users (clerk_id, name, image_url, email) values ('the app''s own', 'x', '', 'taken@example.com')`,
    )
    const before = await world.rows()
    // A chain that ends at the app's row, and a swap.
    setEmail(a, 'taken@example.com')
    setEmail(b, addressOf(a))
    setEmail(c, addressOf(b))
    turn([d, e])
    for (const updated of [2, 0]) {
      const outcome = await world.sync()
      expect(outcome.report).toMatchObject({
        status: 'partial',
        error: null,
        counts: { updated, rejected: 3 },
      })
      expect(outcome.rejections.map(({ clerkId }) => clerkId).sort()).toEqual([a, b, c].sort())
      for (const { reason } of outcome.rejections)
        expect(reason).toBe('email is taken by another row (23505, one_address)')
      const rows = await world.rows()
      for (const id of [a, b, c, `the app's own`]) expect(rows.get(id)).toEqual(before.get(id))
      for (const id of [d, e]) expect(rows.get(id)).toEqual(world.wanted().get(id))
    }
    await run(`delete from users where email = 'taken@example.com'`)
    await expectEqual({}, 3)
  })

  test('stay as they were where a trigger lets the blank through, but not what is to follow it', async () => {
    const ids = await worldOf(10)
    const [a, b] = ids.slice(3, 5) as [string, string]
    await run(`create function keep() returns trigger language plpgsql as $$ begin
        if old.email is null then return null; end if; return new; end $$;
      create trigger keep before update on users for each row execute function keep()`)
    const before = await world.rows()
    turn([a, b])
    const outcome = await world.sync()
    expect(outcome.report).toMatchObject({ status: 'partial', counts: { updated: 0, rejected: 2 } })
    for (const { reason } of outcome.rejections) expect(reason).toBe('the database does not take the write')
    const rows = await world.rows()
    for (const id of [a, b]) expect(rows.get(id)).toEqual(before.get(id))
  })

  test('with a user who is new, and one whose row is about to go, land in one run', async () => {
    const ids = await worldOf(30)
    const [a, b, gone] = ids.slice(3, 6) as [string, string, string]
    turn([a, b])
    world.sandbox.users.delete(gone)
    const heir = world.sandbox.users.create({ email_address: addressOf(a) })
    setEmail(b, addressOf(gone))
    world.sandbox.clock.advance(3600_000)
    const { report } = await world.sync()
    expect(report).toMatchObject({
      status: 'succeeded',
      counts: { created: 1, updated: 2, deleted: 1, rejected: 0 },
    })
    expect((await world.rows()).get(heir.id)?.email).toBe(addressOf(a))
    expect(await world.rows()).toEqual(world.wanted())
  })
})

describe('addresses that stay while the ids are new', () => {
  /** The same people under other ids, as after an import into another instance. */
  function reissue(ids: readonly string[]): void {
    for (const id of ids) world.sandbox.users.delete(id)
    for (const id of ids) world.sandbox.users.create({ email_address: addressOf(id) })
    world.sandbox.clock.advance(3600_000)
  }

  test.each([
    ['more users than a constraint may refuse', 150, 500],
    ['more users than are kept in memory', 1150, 500],
    ['more users than a constraint may refuse, on small pages', 150, 20],
  ])('land in one run that may delete: %s', async (_says, count, pageSize) => {
    const ids = await worldOf(count)
    const kept = ids.splice(0, 5)
    reissue(ids)
    const outcome = await world.sync({ approveDeletes: ids.length, pageSize })
    expect(outcome.report).toMatchObject({
      status: 'succeeded',
      error: null,
      counts: { created: ids.length, deleted: ids.length, unchanged: kept.length, rejected: 0 },
    })
    expect(exitCodeOf(outcome, noFlags)).toBe(0)
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('are refused as long as the deletions are withheld, and the message gives the command that helps', async () => {
    const ids = await worldOf(150)
    reissue(ids.slice(5))
    world.sandbox.users.update(ids[0] ?? '', { first_name: 'Changed' })
    const outcome = await world.sync()
    expect(outcome.report).toMatchObject({
      status: 'failed',
      error: { kind: 'constraint', message: 'one_address refuses more than 100 users' },
      counts: { created: 0, updated: 1, deleted: 0, withheld: 145 },
    })
    expect(outcome.report.error?.hint).toContain('npm run sync -- --approve-deletes 145')
    expect(exitCodeOf(outcome, noFlags)).toBe(1)
    expect((await world.sync({ approveDeletes: 145 })).report).toMatchObject({ status: 'succeeded' })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

test('101 addresses handed on from users of the second page to users of the first land in one run', async () => {
  const ids = await worldOf(210)
  ids.slice(0, 101).forEach((id, index) => void setEmail(id, addressOf(ids[index + 105] ?? '')))
  ids.slice(105).forEach((id) => void setEmail(id, `new-${addressOf(id)}`))
  await expectEqual({ pageSize: 105 }, 206)
})

describe('rows of the app that have the addresses of 101 users', () => {
  beforeEach(async () => {
    const ids = await worldOf(130)
    await run(`insert into users (clerk_id, name, image_url, email)
      select 'app ' || n, 'x', '', 'taken-' || n || '@example.com' from generate_series(0, 100) n`)
    ids.slice(0, 101).forEach((id, index) => void setEmail(id, `taken-${index}@example.com`))
    for (const id of ids.slice(110, 112)) world.sandbox.users.delete(id)
    world.sandbox.users.update(ids[120] ?? '', { first_name: 'Changed' })
    turn(ids.slice(102, 104))
  })

  test('end the run, by the name of the constraint, after all else is done', async () => {
    const outcome = await world.sync()
    expect(outcome.report).toMatchObject({
      status: 'failed',
      error: { kind: 'constraint', message: 'one_address refuses more than 100 users' },
      counts: { updated: 1, deleted: 2 },
    })
    expect(exitCodeOf(outcome, noFlags)).toBe(1)
  })

  test('one fewer are rejected by name, and the others land', async () => {
    await run(`delete from users where clerk_id = 'app 7'`)
    const outcome = await world.sync()
    expect(outcome.report).toMatchObject({
      status: 'partial',
      error: null,
      counts: { updated: 4, deleted: 2, rejected: 100 },
    })
  })
})

test('a single user who is refused is rejected by name', async () => {
  const ids = await worldOf(10)
  setEmail(ids[3] ?? '', addressOf(ids[4] ?? ''))
  const outcome = await world.sync({ pass: 'user', userId: ids[3] ?? '' })
  expect(outcome.report).toMatchObject({ status: 'partial', counts: { updated: 0, rejected: 1 } })
  expect(outcome.rejections).toEqual([
    { clerkId: ids[3], reason: 'email is taken by another row (23505, one_address)' },
  ])
})
