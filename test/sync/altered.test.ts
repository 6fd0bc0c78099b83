// A database that changes what is written: a trigger of the app, or a column that compares in its own way.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { readShape } from '../../src/db/shape.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { deliverUser } from '../../src/sync/delivery.ts'
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

test('a webhook whose values the database changes says so, and the row has the version', async () => {
  await withTrigger('before')
  await world.sync()
  const database = openDatabase(world.database.url, { connections: 1 })
  try {
    const clerkId = 'user_2newcomer'
    const values = { name: 'New', email: 'NEW@example.com', imageUrl: '' }
    const user = { clerkId, values, clerkCreatedAt: 1000, clerkUpdatedAt: 2000 }
    const shape = await readShape(database.db)
    expect(await deliverUser(database, shape, user)).toEqual({ outcome: 'created', reason })
    const later = { ...user, clerkUpdatedAt: 3000, values: { ...values, email: 'quiet@example.com' } }
    expect(await deliverUser(database, shape, later)).toEqual({ outcome: 'updated' })
  } finally {
    await database.close()
  }
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
