// Somebody puts back an earlier state: of the users table, of our bookkeeping, or of both. An incremental pass must not
// vouch for a table that it does not know.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { createWorld, type World } from '../support/world.ts'

const hour = 3600_000
const incremental = { pass: 'incremental' } as const
const ownTables = ['state', 'tombstones', 'runs', 'first_seen'] as const
let world: World

/** A world with a backup of users and bookkeeping of an hour ago; since then users came, changed and left. */
beforeEach(async () => {
  world = await createWorld({ users: seedUsers({ count: 60, seed: 5 }) })
  await world.sync()
  await sql('create schema backup; create table backup.users as table users')
  for (const name of ownTables) await sql(`create table backup.${name} as table clerk_sync.${name}`)
  world.sandbox.clock.advance(hour)
  const { users } = world.sandbox
  const [changed, left, later] = users.all().map((user) => user.id)
  users.update(changed ?? '', { first_name: 'Changed' })
  users.delete(left ?? '')
  users.create({ first_name: 'New' })
  await world.sync()
  // Much later than what was changed above, so that no page of the next incremental pass shows that again.
  world.sandbox.clock.advance(hour)
  users.signIn(later ?? '')
  await world.sync(incremental)
  world.sandbox.clock.advance(hour)
})
afterEach(() => world.close())

const sql = (statements: string) => world.database.sql.unsafe(statements)
const usersAnew = `create table restored (like users including all); drop table users; alter table restored rename to users;
  insert into users select * from backup.users`
const rowsAlone = 'delete from users; insert into users select * from backup.users'
const rowsAfterTruncate = 'truncate users; insert into users select * from backup.users'
const bookkeeping = ownTables
  .map(
    (name) =>
      `delete from clerk_sync.${name}; insert into clerk_sync.${name} overriding system value select * from backup.${name}`,
  )
  .join(';')

async function expectEqual(): Promise<void> {
  expect(await world.rows()).toEqual(world.wanted())
  expect((await world.sync(incremental)).report).toMatchObject({ pass: 'incremental', status: 'succeeded' })
}

test('a table that nobody has touched needs no full pass', expectEqual)

test.each([
  ['the table, made anew', usersAnew, 'is not the one that the last pass left'],
  ['its rows, after a truncate', rowsAfterTruncate, 'is not the one that the last pass left'],
  ['its rows alone, after a delete', rowsAlone, 'are older than the last pass left them'],
])('of %s, an incremental pass becomes a full one and says why', async (_says, statements, reason) => {
  await sql(statements)
  const { report } = await world.sync(incremental)
  expect(report).toMatchObject({ pass: 'full', status: 'succeeded', counts: { created: 1, deleted: 1 } })
  expect(report.notes).toContainEqual(expect.stringContaining(reason))
  await expectEqual()
})

test.each([
  ['the bookkeeping', bookkeeping],
  ['both, in place', `${rowsAlone}; ${bookkeeping}`],
  ['both, the table made anew', `${usersAnew}; ${bookkeeping}`],
])('of %s, an incremental pass makes the table equal', async (_says, statements) => {
  await sql(statements)
  await world.sync(incremental)
  await expectEqual()
})

describe('the newest rows', () => {
  const newest = () => world.sandbox.users.all().sort((a, b) => b.updated_at - a.updated_at)[0]?.id ?? ''

  test('may be written by a webhook meanwhile: a newer version is no restored one', async () => {
    await world.database
      .sql`update users set clerk_updated_at = clerk_updated_at + interval '1 minute' where clerk_id = ${newest()}`
    expect((await world.sync(incremental)).report.pass).toBe('incremental')
  })

  test('may be deleted by us meanwhile: the tombstone says so', async () => {
    const id = newest()
    world.sandbox.users.delete(id)
    await world.database.sql`delete from users where clerk_id = ${id}`
    await world.database.sql`insert into clerk_sync.tombstones (clerk_id) values (${id})`
    expect((await world.sync(incremental)).report.pass).toBe('incremental')
  })

  test.each([
    ['gone without a trace', 'delete from users'],
    ['without a version', 'update users set clerk_updated_at = null'],
  ])('that are %s make a full pass follow', async (_says, statement) => {
    await sql(`${statement} where clerk_id = '${newest()}'`)
    expect((await world.sync(incremental)).report.pass).toBe('full')
    await expectEqual()
  })
})

test('an incremental pass counts as pending what the full pass before it left for the grace, until it is gone', async () => {
  const { users } = world.sandbox
  const [gone] = users.all().map((user) => user.id)
  users.signIn(gone ?? '')
  await world.sync(incremental)
  users.delete(gone ?? '')
  expect((await world.sync()).report.counts).toMatchObject({ deleted: 0, pending: 1 })
  for (let run = 0; run < 2; run++) {
    const { report } = await world.sync(incremental)
    expect(report).toMatchObject({ pass: 'incremental', status: 'succeeded', counts: { pending: 1 } })
  }
  await world.database.sql`delete from users where clerk_id = ${gone ?? ''}`
  await world.database.sql`insert into clerk_sync.tombstones (clerk_id) values (${gone ?? ''})`
  const { report } = await world.sync(incremental)
  expect(report).toMatchObject({ pass: 'incremental', status: 'succeeded', counts: { pending: 0 } })
})
