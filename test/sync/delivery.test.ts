// What a webhook writes: each outcome, what the app's schema refuses, and locks that are held too long.
import type postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isSyncError } from '../../src/errors.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { createdAt, newUserId, standing } from '../support/endpoint.ts'
import { openReceiver, type Receiver, userOf } from '../support/receiver.ts'

/** All of a row, with the transaction that wrote it. */
async function look(sql: postgres.Sql, id: string) {
  const [row] = await sql`
    select name, (extract(epoch from clerk_created_at) * 1000)::float8 as "clerkCreatedAt",
      (extract(epoch from clerk_updated_at) * 1000)::float8 as "clerkUpdatedAt", created_at::text, updated_at::text,
      xmin::text, xmax::text from users where clerk_id = ${id}`
  return row
}

describe('a delivery', () => {
  let db: TestDatabase
  let receiver: Receiver

  beforeAll(async () => {
    db = await createTestDatabase()
    receiver = await openReceiver(db.url)
  })
  afterAll(async () => {
    await receiver.database.close()
    await db.drop()
  })

  test('creates, updates, refreshes, and writes nothing for a version that the row has', async () => {
    const id = newUserId()
    expect(await receiver.user(userOf(id, 0))).toBe('created')
    expect(await receiver.user(userOf(id, 5))).toBe('updated')
    const updated = await look(db.sql, id)
    expect(updated).toMatchObject({ name: 'V5', clerkUpdatedAt: createdAt + 5 })

    expect(await receiver.user({ ...userOf(id, 9), values: userOf(id, 5).values })).toBe('refreshed')
    const refreshed = await look(db.sql, id)
    expect(refreshed).toMatchObject({
      name: 'V5',
      clerkUpdatedAt: createdAt + 9,
      updated_at: updated?.updated_at,
    })

    for (const version of [0, 5, 8, 9]) {
      expect(await receiver.user(userOf(id, version))).toBe('stale')
    }
    // Equal version, other values: only a pass, which has read the user just now, may decide that.
    const rival = { ...userOf(id, 9), values: { ...userOf(id, 9).values, name: 'Rival' } }
    expect(await receiver.user(rival)).toBe('stale')
    expect(await look(db.sql, id)).toEqual(refreshed)
  })

  test('follows a creation time that was changed', async () => {
    const id = newUserId()
    await receiver.user(userOf(id, 0))
    const moved = { ...userOf(id, 1), values: userOf(id, 0).values, clerkCreatedAt: 40_000_000_000 }
    expect(await receiver.user(moved)).toBe('refreshed')
    expect(await look(db.sql, id)).toMatchObject({ clerkCreatedAt: 40_000_000_000 })
  })

  test('of any version is newer than an adopted row, which has none', async () => {
    const id = newUserId()
    await db.sql`insert into users (clerk_id, name, image_url) values (${id}, 'Adopted', '')`
    expect(await receiver.user(userOf(id, 0))).toBe('updated')
    expect(await look(db.sql, id)).toMatchObject({ name: 'V0', clerkUpdatedAt: createdAt })
  })

  test('of a deletion takes a row of any version, also of the future and of none', async () => {
    const ids = [newUserId(), newUserId(), newUserId()] as const
    await receiver.user(userOf(ids[0], 0))
    await receiver.user(userOf(ids[1], 0, { clerkUpdatedAt: Date.parse('9999-12-31T23:59:59.999Z') }))
    await db.sql`insert into users (clerk_id, name, image_url) values (${ids[2]}, 'Adopted', '')`
    for (const id of ids) {
      expect(await receiver.deletion(id)).toBe('deleted')
      expect(await standing(db.sql, id)).toEqual({ name: null, tombstone: true })
      expect(await receiver.deletion(id)).toBe('absent')
    }
  })

  test('of a deletion that comes first leaves a tombstone, which keeps creation and updates out', async () => {
    const id = newUserId()
    expect(await receiver.deletion(id)).toBe('absent')
    for (const version of [0, 1, 86_400_000]) {
      expect(await receiver.user(userOf(id, version))).toBe('stale')
    }
    expect(await standing(db.sql, id)).toEqual({ name: null, tombstone: true })
  })

  test.each(['27 hours', '29 days'])('repeated %s after the deletion changes nothing', async (age) => {
    const id = newUserId()
    await receiver.user(userOf(id, 0))
    await receiver.deletion(id)
    await db.sql`
      update clerk_sync.tombstones set deleted_at = deleted_at - ${age}::interval where clerk_id = ${id}`
    const [tombstone] =
      await db.sql`select t::text, xmin::text from clerk_sync.tombstones t where clerk_id = ${id}`
    for (const version of [0, 1, 10 * 86_400_000]) {
      expect(await receiver.user(userOf(id, version))).toBe('stale')
    }
    const after = await db.sql`select t::text, xmin::text from clerk_sync.tombstones t where clerk_id = ${id}`
    expect([...after]).toEqual([tombstone])
    expect(await standing(db.sql, id)).toEqual({ name: null, tombstone: true })
  })

  test('of a deletion renews the tombstone, and takes it off the guard’s account', async () => {
    const id = newUserId()
    await db.sql`
      insert into clerk_sync.tombstones (clerk_id, deleted_at, run_id) values (${id}, now() - interval '20 days', 7)`
    expect(await receiver.deletion(id)).toBe('absent')
    const [tombstone] = await db.sql`
      select run_id, deleted_at > now() - interval '1 minute' as blocks from clerk_sync.tombstones where clerk_id = ${id}`
    expect(tombstone).toEqual({ run_id: null, blocks: true })
  })

  test('of a deletion keeps row and late news as they are under upsert-only', async () => {
    const id = newUserId()
    await receiver.user(userOf(id, 1))
    const row = await look(db.sql, id)
    expect(await receiver.deletion(id, 'upsert-only')).toBe('kept')
    expect(await look(db.sql, id)).toEqual(row)
    expect(await standing(db.sql, id)).toEqual({ name: 'V1', tombstone: false })
  })

  test('of a row that was deleted by the app’s own hand does not fail, and a later one brings it back', async () => {
    const id = newUserId()
    await receiver.user(userOf(id, 0))
    await db.sql`delete from users where clerk_id = ${id}`
    expect(await receiver.user(userOf(id, 0))).toBe('created')
  })
})

describe('what the app’s schema refuses', () => {
  let db: TestDatabase
  let receiver: Receiver

  beforeAll(async () => {
    db = await createTestDatabase()
    receiver = await openReceiver(db.url)
    await db.sql.unsafe(`
      create unique index users_email_key on users (email);
      create index users_name_idx on users (name);
      alter table users add constraint short_pictures check (length(image_url) < 100);
      create table orders (id int primary key, clerk_id text references users (clerk_id));`)
  })
  afterAll(async () => {
    await receiver.database.close()
    await db.drop()
  })

  const failures = [
    { why: 'a taken address', values: { name: 'N', email: 'taken@example.com', imageUrl: '' } },
    { why: 'a check', values: { name: 'N', email: null, imageUrl: 'x'.repeat(100) } },
    { why: 'the size of an index', values: { name: noise(20_000), email: null, imageUrl: '' } },
  ]

  test.each(failures)(
    'is refused for good: $why; neither a new row nor a change is written',
    async ({ values }) => {
      const [owner, fresh, old] = [newUserId(), newUserId(), newUserId()]
      await db.sql`delete from users where email = 'taken@example.com'`
      await receiver.user({
        ...userOf(owner, 0),
        values: { name: 'Owner', email: 'taken@example.com', imageUrl: '' },
      })
      await receiver.user(userOf(old, 0))
      expect(await receiver.user({ ...userOf(fresh, 0), values })).toBe('refused')
      expect(await receiver.user({ ...userOf(old, 7), values })).toBe('refused')
      expect(await standing(db.sql, fresh)).toEqual({ name: null, tombstone: false })
      expect(await standing(db.sql, old)).toEqual({ name: 'V0', tombstone: false })
    },
  )

  const addressed = (id: string, version: number, email: string) =>
    userOf(id, version, { values: { name: `V${version}`, email, imageUrl: '' } })
  const emailsOf = async (ids: readonly string[]) => {
    const rows = await db.sql`select clerk_id, email from users where clerk_id = any(${ids as string[]})`
    const emails = new Map(rows.map((row) => [row.clerk_id, row.email]))
    return ids.map((id) => emails.get(id))
  }
  /** So many users, each with an address of its own. */
  async function owners(count: number) {
    const ids = Array.from({ length: count }, () => newUserId())
    const emails = ids.map((id) => `${id.toLowerCase()}@example.com`)
    for (const [index, id] of ids.entries()) await receiver.user(addressed(id, 0, emails[index] ?? ''))
    return { ids, emails }
  }

  test.each([
    ['two', [0, 1]],
    ['two, the other way round', [1, 0]],
    ...[
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ].map((order) => [`three, in the order ${order}`, order] as [string, number[]]),
    ['nine', [4, 8, 0, 3, 1, 7, 2, 6, 5]],
  ] as [string, number[]][])(
    'addresses handed on in a circle of %s land with the last delivery',
    async (_says, order) => {
      const { ids, emails } = await owners(order.length)
      const wanted = ids.map((_id, index) => emails.at(index - 1))
      const outcomes = []
      for (const index of order) {
        outcomes.push(await receiver.user(addressed(ids[index] ?? '', 5, wanted[index] ?? '')))
        // Nobody's address is ever taken away in between.
        expect((await emailsOf(ids)).every((email) => typeof email === 'string')).toBe(true)
      }
      expect(outcomes).toEqual([...order.slice(1).map(() => 'refused'), 'updated'])
      expect(await emailsOf(ids)).toEqual(wanted)
      for (const [index, id] of ids.entries()) {
        expect(await receiver.user(addressed(id, 4, 'late@example.com'))).toBe('stale')
        expect(await receiver.user(addressed(id, 5, wanted[index] ?? ''))).toBe('stale')
      }
    },
  )

  test('an address given up lands with the one who waited for it, and so does one whose row is deleted', async () => {
    const { ids, emails } = await owners(2)
    const [a, b] = ids as [string, string]
    const fresh = newUserId()
    expect(await receiver.user(addressed(a, 5, emails[1] ?? ''))).toBe('refused')
    expect(await receiver.user(addressed(fresh, 5, emails[0] ?? ''))).toBe('refused')
    expect(await receiver.user(addressed(b, 5, `new-${emails[1]}`))).toBe('updated')
    expect(await emailsOf([a, b, fresh])).toEqual([emails[1], `new-${emails[1]}`, emails[0]])

    const heir = newUserId()
    expect(await receiver.user(addressed(heir, 5, emails[0] ?? ''))).toBe('refused')
    expect(await receiver.deletion(fresh)).toBe('deleted')
    expect(await emailsOf([heir, fresh])).toEqual([emails[0], undefined])
  })

  test('who waits is written as the newest delivery has it, and not at all once deleted', async () => {
    const { ids, emails } = await owners(2)
    const [a, b] = ids as [string, string]
    const fresh = newUserId()
    expect(await receiver.user(addressed(a, 7, emails[1] ?? ''))).toBe('refused')
    expect(await receiver.user({ ...addressed(a, 5, emails[1] ?? ''), clerkUpdatedAt: createdAt + 5 })).toBe(
      'refused',
    )
    expect(await receiver.user(addressed(fresh, 5, emails[1] ?? ''))).toBe('refused')
    expect(await receiver.deletion(fresh)).toBe('absent')
    expect(await receiver.user(addressed(b, 5, `new-${emails[1]}`))).toBe('updated')
    expect(await look(db.sql, a)).toMatchObject({ name: 'V7', clerkUpdatedAt: createdAt + 7 })
    expect(await standing(db.sql, fresh)).toEqual({ name: null, tombstone: true })
  })

  test('an address that a row of the app has stays with it, however many wait', async () => {
    await db.sql`insert into users (clerk_id, name, image_url, email) values ('the app''s own', '', '', 'own@example.com')`
    const { ids, emails } = await owners(3)
    for (const id of ids) expect(await receiver.user(addressed(id, 5, 'own@example.com'))).toBe('refused')
    expect(await emailsOf(["the app's own", ...ids])).toEqual(['own@example.com', ...emails])
    // Two others who swap are none the worse for it.
    const pair = await owners(2)
    expect(await receiver.user(addressed(pair.ids[0] ?? '', 5, pair.emails[1] ?? ''))).toBe('refused')
    expect(await receiver.user(addressed(pair.ids[1] ?? '', 5, pair.emails[0] ?? ''))).toBe('updated')
    expect(await emailsOf(pair.ids)).toEqual([...pair.emails].reverse())
  })

  test('is refused for good: a row that others refer to; it stays, and leaves no tombstone', async () => {
    const id = newUserId()
    await receiver.user(userOf(id, 0))
    await db.sql`insert into orders values (1, ${id})`
    expect(await receiver.deletion(id)).toBe('refused')
    expect(await standing(db.sql, id)).toEqual({ name: 'V0', tombstone: false })
  })
})

test('a deletion that takes longer than it may is tried again by the sender, and says what to look for', async () => {
  const db = await createTestDatabase()
  const receiver = await openReceiver(db.url, { deleteMsMax: 200 })
  try {
    const id = newUserId()
    await receiver.user(userOf(id, 0))
    await db.sql.unsafe(`create function cascade() returns trigger language plpgsql as $$ begin
        perform pg_sleep(60); return old; end $$;
      create trigger cascade before delete on users for each row execute function cascade()`)
    await expect(receiver.deletion(id)).rejects.toMatchObject({
      kind: 'transient',
      message: 'the write was cut off because it took too long',
      hint: expect.stringContaining('Is an index missing'),
    })
    expect(await standing(db.sql, id)).toEqual({ name: 'V0', tombstone: false })
  } finally {
    await receiver.database.close(0)
    await db.drop()
  }
})

/** Text that does not compress: an index refuses it for its length. */
function noise(length: number): string {
  let state = 1
  return Array.from({ length }, () => {
    state = (state * 48271) % 2147483647
    return String.fromCharCode(33 + (state % 90))
  }).join('')
}

describe.concurrent('a lock that is held too long', () => {
  const gone = newUserId()
  const there = newUserId()
  /** What the app, or another process of ours, holds; and whom it keeps from being written. */
  const holders = [
    {
      what: 'the whole table',
      statement: 'lock table users in access exclusive mode',
      blocks: ['create', 'update', 'delete'],
    },
    {
      what: 'the row',
      statement: `select from users where clerk_id = '${there}' for update`,
      blocks: ['update', 'delete'],
    },
    {
      what: 'the deletion lock',
      statement: 'select pg_advisory_xact_lock(7163371136806975352)',
      blocks: ['create', 'delete'],
    },
    {
      what: 'the deletion lock, shared',
      statement: 'select pg_advisory_xact_lock_shared(7163371136806975352)',
      blocks: ['delete'],
    },
  ]

  test.for(holders)(
    '$what: the delivery fails as transient within ten seconds, and lands once it is free',
    async ({ statement, blocks }, { expect, onTestFinished }) => {
      const db = await createTestDatabase()
      const receiver = await openReceiver(db.url)
      onTestFinished(async () => {
        await receiver.database.close(0)
        await db.drop()
      })
      await receiver.user(userOf(there, 0))
      const app = db.connect()
      await app.unsafe(`begin; ${statement}`)
      const deliveries: Record<string, () => Promise<string>> = {
        create: () => receiver.user(userOf(gone, 0)),
        update: () => receiver.user(userOf(there, 1)),
        delete: () => receiver.deletion(there),
      }
      const started = performance.now()
      const failures = blocks.map(async (kind) => {
        const error = await within(10_000, deliveries[kind]?.() ?? Promise.resolve('none')).catch(
          (thrown) => thrown,
        )
        expect(isSyncError(error, 'transient'), `${kind}: ${error}`).toBe(true)
      })
      await Promise.all(failures)
      expect(performance.now() - started).toBeGreaterThan(1900)
      await app`commit`
      const rows = await db.sql`select name from users`
      expect([...rows]).toEqual([{ name: 'V0' }])
      expect(await deliveries.create?.()).toBe('created')
      expect(await deliveries.update?.()).toBe('updated')
      expect(await deliveries.delete?.()).toBe('deleted')
    },
  )
})

async function within<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${milliseconds} ms`)), milliseconds)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}
