// A database that changes what is written: a trigger of the app, or a column that compares in its own way.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { readCatalog } from '../../src/db/catalog.ts'
import { openDatabase } from '../../src/db/database.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { deliverUser } from '../../src/sync/webhook.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type World } from '../support/world.ts'

let world: World
beforeEach(async () => {
  world = await createWorld({ users: seedUsers({ count: 12, seed: 5 }) })
})
afterEach(() => world.close())

const loud = (index: number) => `LOUD.${index}@EXAMPLE.com`
const reason = 'a trigger of the database changes email'

/** Users with addresses that the trigger changes, and the trigger, which fires before or after the write. */
async function withTrigger(when: 'before' | 'after'): Promise<string[]> {
  const body =
    when === 'before'
      ? 'begin new.email = lower(new.email); return new; end'
      : `begin update users set email = lower(email) where clerk_id = new.clerk_id and email <> lower(email);
           return null; end`
  await world.database.sql.unsafe(`
    create function quieten() returns trigger language plpgsql as $$ ${body} $$;
    create trigger quieten ${when} insert or update on users for each row execute function quieten()`)
  return [0, 1, 2].map((index) => world.sandbox.users.create({ email_address: [loud(index)] }).id)
}

const writes = async () => {
  const { inserted, updated } = await tableStatistics(world.database.sql)
  return [inserted, updated]
}

describe.each(['before', 'after'] as const)('a trigger %s the write that changes a value', (when) => {
  test('rejects these users by name, and their rows are written once', async () => {
    const changed = await withTrigger(when)
    const first = await world.sync()
    expect(first.report).toMatchObject({ status: 'partial', counts: { rejected: 3 } })
    expect(first.rejections).toEqual(expect.arrayContaining(changed.map((clerkId) => ({ clerkId, reason }))))
    const before = await writes()
    for (const pass of ['full', 'incremental', 'full'] as const) {
      const { report } = await world.sync({ pass })
      expect(report).toMatchObject({ pass, status: 'partial', counts: { updated: 0, rejected: 3 } })
    }
    expect(await writes()).toEqual(before)
    expect((await world.sync({ dryRun: true })).report.counts).toMatchObject({ updated: 0, rejected: 3 })
  })

  test('is tried again once Clerk has another value, and forgotten once the trigger is gone', async () => {
    const [id = ''] = await withTrigger(when)
    await world.sync()
    world.sandbox.users.update(id, { first_name: 'Other' })
    expect((await world.sync()).report.counts).toMatchObject({ updated: 1, rejected: 3 })
    expect((await world.rows()).get(id)).toMatchObject({ name: 'Other', email: loud(0).toLowerCase() })
    await world.database.sql.unsafe('drop trigger quieten on users')
    // What the trigger has left is not written again by itself: nothing has changed since.
    await world.database.sql.unsafe(`update users set email = email || 'x' where email like 'loud%'`)
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { updated: 3 } })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

test('rows are written once also where no pass is ever complete', async () => {
  await withTrigger('before')
  world.sandbox.faults.add({
    endpoint: 'list',
    kind: 'malformed-user',
    how: 'no id',
    index: 0,
    times: Number.POSITIVE_INFINITY,
    when: ({ query }) => query.get('order_by') === '+created_at',
  })
  expect((await world.sync()).report).toMatchObject({ status: 'partial', counts: { deleted: 0 } })
  const before = await writes()
  for (const pass of ['full', 'incremental'] as const) {
    const { report } = await world.sync({ pass })
    expect(report).toMatchObject({ pass: 'full', status: 'partial', counts: { updated: 0 } })
  }
  expect(await writes()).toEqual(before)
  world.sandbox.faults.clear()
  expect((await world.sync()).report).toMatchObject({ status: 'partial', counts: { rejected: 3 } })
  const settled = await writes()
  const { report } = await world.sync({ pass: 'incremental' })
  expect(report).toMatchObject({ pass: 'incremental', counts: { updated: 0, rejected: 3 } })
  expect(await writes()).toEqual(settled)
})

test('a webhook whose values the database changes says so, and the row has the version', async () => {
  await withTrigger('before')
  await world.sync()
  const database = openDatabase(world.database.url, { connections: 1 })
  try {
    const clerkId = 'user_2newcomer'
    const values = { name: 'New', email: 'NEW@example.com', imageUrl: '' }
    const user = { clerkId, values, clerkCreatedAt: 1000, clerkUpdatedAt: 2000 }
    const catalog = await readCatalog(database.db)
    expect(await deliverUser(database, catalog, user)).toEqual({ outcome: 'created', reason })
    const later = { ...user, clerkUpdatedAt: 3000, values: { ...values, email: 'quiet@example.com' } }
    expect(await deliverUser(database, catalog, later)).toEqual({ outcome: 'updated' })
  } finally {
    await database.close()
  }
})

describe('values that the database changes, where only Clerk’s version has moved', () => {
  const look = async (id: string) => {
    const [row] = await world.database.sql`select name, email, updated_at::text,
      (extract(epoch from clerk_updated_at) * 1000)::float8 as version from users where clerk_id = ${id}`
    return row
  }

  test.each(['full', 'incremental', 'user'] as const)('a %s pass writes that version alone', async (pass) => {
    const [id = ''] = await withTrigger('before')
    await world.sync()
    const row = await look(id)
    world.sandbox.users.signIn(id)
    const outcome = await world.sync(pass === 'user' ? { pass, userId: id } : { pass })
    expect(outcome.report).toMatchObject({ pass, status: 'partial', counts: { updated: 0, refreshed: 1 } })
    expect(outcome.rejections).toContainEqual({ clerkId: id, reason })
    expect(await look(id)).toEqual({ ...row, version: world.wanted().get(id)?.updatedAt })
    const before = await writes()
    await world.sync()
    expect(await writes()).toEqual(before)
  })

  test('a delivery writes that version alone, and says what the row lacks', async () => {
    await withTrigger('before')
    const [id = ''] = world.sandbox.users
      .all()
      .slice(-3)
      .map((user) => user.id)
    await world.sync()
    const row = await look(id)
    const [{ altered } = {}] = await world.database.sql<{ altered: [string, string][] }[]>`
      select difference->'altered' as altered from clerk_sync.state`
    const known = new Map(altered).get(id)
    const wanted = world.wanted().get(id)
    if (wanted === undefined || wanted.createdAt === null || wanted.updatedAt === null)
      throw new Error('no user')
    const { name, email, imageUrl } = wanted
    const user = {
      clerkId: id,
      values: { name, email, imageUrl },
      clerkCreatedAt: wanted.createdAt,
      clerkUpdatedAt: wanted.updatedAt + 1,
    }
    const database = openDatabase(world.database.url, { connections: 1 })
    try {
      const catalog = await readCatalog(database.db)
      const delivered = await deliverUser(database, catalog, user, undefined, known)
      expect(delivered).toEqual({ outcome: 'refreshed', reason })
      expect(await look(id)).toEqual({ ...row, version: user.clerkUpdatedAt })
      const other = {
        ...user,
        clerkUpdatedAt: user.clerkUpdatedAt + 1,
        values: { ...user.values, name: 'Other' },
      }
      expect(await deliverUser(database, catalog, other, undefined, known)).toEqual({
        outcome: 'updated',
        reason,
      })
      expect((await look(id))?.name).toBe('Other')
    } finally {
      await database.close()
    }
  })
})

test('users who were settled together are named, too, where the database changes their values', async () => {
  const ids = world.sandbox.users.all().map(({ id }) => id)
  for (const id of ids) world.sandbox.users.update(id, { email_address: `${id.toLowerCase()}@example.com` })
  await world.sync()
  await withTrigger('before')
  await world.database.sql`create unique index one_address on users (email)`
  const [a, b] = ids as [string, string]
  world.sandbox.users.update(a, { email_address: `${b.toLowerCase()}@example.COM` })
  world.sandbox.users.update(b, { email_address: `${a.toLowerCase()}@example.com` })
  const outcome = await world.sync()
  expect(outcome.report).toMatchObject({ status: 'partial', counts: { updated: 2, created: 3, rejected: 4 } })
  expect(outcome.rejections).toContainEqual({ clerkId: a, reason })
  const before = await writes()
  expect((await world.sync()).report).toMatchObject({
    status: 'partial',
    counts: { updated: 0, rejected: 4 },
  })
  expect(await writes()).toEqual(before)
})

test('an incremental pass that steps up to a full one writes such a row once', async () => {
  await world.sync()
  await withTrigger('before')
  // A listing by change does not show who is gone: only the counts do.
  world.sandbox.users.delete(world.sandbox.users.all()[0]?.id ?? '')
  const [inserted = 0, updated = 0] = await writes()
  const { report } = await world.sync({ pass: 'incremental' })
  expect(report).toMatchObject({ pass: 'full', counts: { created: 3, updated: 0, rejected: 3 } })
  expect(await writes()).toEqual([inserted + 3, updated])
})

test('what it has met is remembered also where the full pass that follows reads no page', async () => {
  await world.sync()
  await withTrigger('before')
  world.sandbox.users.delete(world.sandbox.users.all()[0]?.id ?? '')
  world.sandbox.faults.add({
    endpoint: 'list',
    kind: 'empty-array',
    times: Number.POSITIVE_INFINITY,
    when: ({ query }) => query.get('order_by') === '+created_at',
  })
  const { report } = await world.sync({ pass: 'incremental' })
  expect(report).toMatchObject({ pass: 'full', status: 'partial', counts: { created: 3 } })
  world.sandbox.faults.clear()
  const before = await writes()
  expect((await world.sync()).report.counts).toMatchObject({ updated: 0, rejected: 3 })
  expect(await writes()).toEqual(before)
})

test('a change in case alone lands in a column that compares without case', async () => {
  await world.sync()
  await world.database.sql.unsafe(`
    create collation nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    alter table users alter name type text collate nocase`)
  const [user] = world.sandbox.users.all()
  const id = user?.id ?? ''
  // The default picture holds initials, and would change with the name.
  const image_url = 'https://img.example.com/ada'
  world.sandbox.users.update(id, { first_name: 'ada', last_name: null, image_url })
  await world.sync()
  world.sandbox.users.update(id, { first_name: 'ADA', image_url })
  expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { updated: 1 } })
  expect((await world.rows()).get(id)?.name).toBe('ADA')
})
