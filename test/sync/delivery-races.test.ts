// A delivery and a pass at the same time on the same user, with the transactions held open at the worst moment.
import type postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createClock, type SandboxUser } from '../../src/dev/sandbox/sandbox.ts'
import { blocked, newUserId, standing } from '../support/endpoint.ts'
import { desiredOf, openReceiver, type Receiver, userOf } from '../support/receiver.ts'
import { createWorld, type World } from '../support/world.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs

describe('a delivery and a pass at the same time', () => {
  let world: World
  let receiver: Receiver
  let gate: postgres.Sql

  beforeAll(async () => {
    world = await createWorld({ clock: createClock({ at: Date.UTC(2026, 5, 1), frozen: true }) })
    receiver = await openReceiver(world.database.url)
    gate = world.database.connect()
    // A write that is named here waits with its transaction open, after it is done.
    await world.database.sql.unsafe(`
      create table gated (clerk_id text, write text);
      create function wait_at_gate() returns trigger language plpgsql security definer as $$
        begin
          if exists (select from gated where clerk_id = coalesce(new.clerk_id, old.clerk_id)
              and write = tg_op || ' ' || tg_table_name) then
            perform pg_advisory_xact_lock_shared(77);
          end if;
          return null;
        end $$;
      create trigger gate after insert or update or delete on users
        for each row execute function wait_at_gate();
      create trigger gate after insert or update on clerk_sync.tombstones
        for each row execute function wait_at_gate();`)
    for (let index = 0; index < 5; index++) world.sandbox.users.create()
    world.sandbox.clock.advance(hourMs)
    await world.sync()
  })
  afterAll(async () => {
    await receiver.database.close()
    await world.close()
  })

  type GatedWrite = 'INSERT users' | 'UPDATE users' | 'DELETE users' | 'INSERT tombstones'

  /**
   * Runs `first` until that write of that user's is done and not committed, then `second` until it waits for `first`, or
   * to its end if it `passes`; then lets both go on.
   */
  async function overlap<A, B>(
    write: GatedWrite,
    { id }: { id: string },
    first: () => Promise<A>,
    second: () => Promise<B>,
    passes = false,
  ): Promise<[A, B]> {
    await gate`insert into gated values (${id}, ${write})`
    await gate`select pg_advisory_lock(77)`
    const open = async () => {
      await gate`delete from gated`
      await gate`select pg_advisory_unlock_all()`
    }
    try {
      const one = first()
      one.catch(() => {})
      await blocked(world.database.sql, 1)
      const other = second()
      other.catch(() => {})
      if (passes) await other
      else await blocked(world.database.sql, 2)
      await open()
      return [await one, await other]
    } finally {
      await open()
    }
  }

  /** A user of an hour ago with a row. */
  async function createKnownUser(): Promise<SandboxUser> {
    const user = world.sandbox.users.create({ first_name: 'Old' })
    world.sandbox.clock.advance(hourMs)
    expect(await receiver.user(desiredOf(user))).toBe('created')
    return user
  }

  /** News of a moment ago, which listings do not show yet. */
  function rename(user: SandboxUser): SandboxUser {
    world.sandbox.listingLagMs = minuteMs
    world.sandbox.clock.advance(1000)
    return world.sandbox.users.update(user.id, { first_name: 'New' })
  }

  /** Deletes the user in Clerk, where listings still show it. */
  function leave(user: SandboxUser): void {
    world.sandbox.listingLagMs = minuteMs
    world.sandbox.clock.advance(1000)
    world.sandbox.users.delete(user.id)
  }

  const stand = (id: string) => standing(world.database.sql, id)
  const gone = { name: null, tombstone: true }

  /** An hour later, after one pass, the table is what Clerk has, and both kinds of pass find nothing to do. */
  async function expectPeace(): Promise<void> {
    world.sandbox.listingLagMs = 0
    world.sandbox.clock.advance(hourMs)
    await world.database.sql`update clerk_sync.tombstones set deleted_at = deleted_at - interval '1 hour'`
    await world.sync()
    expect(await world.rows()).toEqual(world.wanted())
    for (const pass of ['incremental', 'full'] as const) {
      const { report } = await world.sync({ pass })
      expect(report).toMatchObject({ status: 'succeeded', pass })
      const { seen, unchanged, ...changes } = report.counts
      expect(changes).toEqual({
        created: 0,
        updated: 0,
        refreshed: 0,
        deleted: 0,
        pending: 0,
        withheld: 0,
        rejected: 0,
      })
    }
  }

  test('a deletion under way keeps out the user on a page that was read before it', async () => {
    const user = world.sandbox.users.create()
    world.sandbox.clock.advance(hourMs)
    leave(user)
    // When the pass looks for tombstones, this one is not committed: only the deletion lock stands between.
    const [outcome, { report }] = await overlap(
      'INSERT tombstones',
      user,
      () => receiver.deletion(user.id),
      () => world.sync(),
    )
    expect(outcome).toBe('absent')
    expect(report.counts).toMatchObject({ created: 0, pending: 1 })
    expect(await stand(user.id)).toEqual(gone)
    await expectPeace()
  })

  test('a deletion waits for the pass that is just putting the user in, and takes it out again', async () => {
    const user = world.sandbox.users.create()
    world.sandbox.clock.advance(hourMs)
    leave(user)
    const [{ report }, outcome] = await overlap(
      'INSERT users',
      user,
      () => world.sync(),
      () => receiver.deletion(user.id),
    )
    expect(report.counts.created).toBe(1)
    expect(outcome).toBe('deleted')
    expect(await stand(user.id)).toEqual(gone)
    await expectPeace()
  })

  test('a pass that changes a row which is just being deleted does not put it back', async () => {
    const user = await createKnownUser()
    // The listing has other values than the row, so the pass plans an update.
    await world.database.sql`update users set name = 'Bent' where clerk_id = ${user.id}`
    leave(user)
    const [outcome, { report }] = await overlap(
      'DELETE users',
      user,
      () => receiver.deletion(user.id),
      () => world.sync(),
    )
    expect(outcome).toBe('deleted')
    expect(report.counts).toMatchObject({ created: 0, updated: 0 })
    expect(await stand(user.id)).toEqual(gone)
    await expectPeace()
  })

  test('a deletion takes a row that a pass is just changing', async () => {
    const user = await createKnownUser()
    await world.database.sql`update users set name = 'Bent' where clerk_id = ${user.id}`
    leave(user)
    const [{ report }, outcome] = await overlap(
      'UPDATE users',
      user,
      () => world.sync(),
      () => receiver.deletion(user.id),
    )
    expect(report.counts.updated).toBe(1)
    expect(outcome).toBe('deleted')
    expect(await stand(user.id)).toEqual(gone)
    await expectPeace()
  })

  test('a newer version under way wins over the page that waits for the row', async () => {
    const user = await createKnownUser()
    await world.database
      .sql`update users set name = 'Bent', clerk_updated_at = clerk_updated_at - interval '1 second'
      where clerk_id = ${user.id}`
    const news = rename(user)
    const [outcome, { report }] = await overlap(
      'UPDATE users',
      user,
      () => receiver.user(desiredOf(news)),
      () => world.sync(),
    )
    expect(outcome).toBe('updated')
    expect(report.counts).toMatchObject({ updated: 0, pending: 1 })
    expect(await stand(user.id)).toMatchObject({ name: 'New' })
    await expectPeace()
  })

  test('a newer version waits for the page that is just written, and wins', async () => {
    const user = await createKnownUser()
    await world.database.sql`update users set name = 'Bent' where clerk_id = ${user.id}`
    const news = rename(user)
    const [{ report }, outcome] = await overlap(
      'UPDATE users',
      user,
      () => world.sync(),
      () => receiver.user(desiredOf(news)),
    )
    expect(report.counts.updated).toBe(1)
    expect(outcome).toBe('updated')
    expect(await stand(user.id)).toMatchObject({ name: 'New' })
    await expectPeace()
  })

  test('a newer version that is just put in wins over the page that puts the user in as well', async () => {
    const user = world.sandbox.users.create({ first_name: 'Old' })
    world.sandbox.clock.advance(hourMs)
    const news = rename(user)
    const [outcome, { report }] = await overlap(
      'INSERT users',
      user,
      () => receiver.user(desiredOf(news)),
      () => world.sync(),
    )
    expect(outcome).toBe('created')
    expect(report.counts).toMatchObject({ created: 0, pending: 1 })
    expect(await stand(user.id)).toMatchObject({ name: 'New' })
    await expectPeace()
  })

  test('a newer version waits for the page that is just putting the user in, and wins', async () => {
    const user = world.sandbox.users.create({ first_name: 'Old' })
    world.sandbox.clock.advance(hourMs)
    const news = rename(user)
    const [{ report }, outcome] = await overlap(
      'INSERT users',
      user,
      () => world.sync(),
      () => receiver.user(desiredOf(news)),
    )
    expect(report.counts.created).toBe(1)
    expect(outcome).toBe('updated')
    expect(await stand(user.id)).toMatchObject({ name: 'New' })
    await expectPeace()
  })

  test('late news of a user whom a pass is just deleting finds no row and brings none', async () => {
    const user = await createKnownUser()
    world.sandbox.users.delete(user.id)
    world.sandbox.clock.advance(hourMs)
    const late = { ...user, first_name: 'Late', updated_at: user.updated_at + 1 }
    const [{ report }, outcome] = await overlap(
      'DELETE users',
      user,
      () => world.sync(),
      () => receiver.user(desiredOf(late)),
    )
    expect(report.counts.deleted).toBe(1)
    expect(outcome).toBe('stale')
    expect(await stand(user.id)).toEqual(gone)
    await expectPeace()
  })

  test('late news that is just written spares the row from the pass, which has judged another version, until the next', async () => {
    const user = await createKnownUser()
    world.sandbox.users.delete(user.id)
    world.sandbox.clock.advance(hourMs)
    const late = { ...user, first_name: 'Late', updated_at: user.updated_at + 1 }
    const [outcome, { report }] = await overlap(
      'UPDATE users',
      user,
      () => receiver.user(desiredOf(late)),
      () => world.sync(),
    )
    expect(outcome).toBe('updated')
    expect(report.counts).toMatchObject({ deleted: 0, pending: 1 })
    expect(await stand(user.id)).toMatchObject({ name: 'Late' })
    await expectPeace()
    expect(await stand(user.id)).toEqual(gone)
  })

  test('two versions at once leave the newer, whichever begins', async () => {
    for (const order of ['older first', 'newer first']) {
      for (const write of ['INSERT users', 'UPDATE users'] as const) {
        const id = newUserId()
        if (write === 'UPDATE users') await receiver.user(userOf(id, 0))
        const versions = order === 'older first' ? ([1, 2] as const) : ([2, 1] as const)
        await overlap(
          write,
          { id },
          () => receiver.user(userOf(id, versions[0])),
          () => receiver.user(userOf(id, versions[1])),
        )
        expect(await stand(id), `${order}, ${write}`).toEqual({ name: 'V2', tombstone: false })
        await world.database.sql`delete from users where clerk_id = ${id}`
      }
    }
  })

  test('a creation and a deletion at once leave no row, whichever begins', async () => {
    const [one, two] = [newUserId(), newUserId()]
    const deletedFirst = await overlap(
      'INSERT tombstones',
      { id: one },
      () => receiver.deletion(one),
      () => receiver.user(userOf(one, 0)),
    )
    const createdFirst = await overlap(
      'INSERT users',
      { id: two },
      () => receiver.user(userOf(two, 0)),
      () => receiver.deletion(two),
    )
    expect([deletedFirst, createdFirst]).toEqual([
      ['absent', 'stale'],
      ['created', 'deleted'],
    ])
    for (const id of [one, two]) expect(await stand(id)).toEqual(gone)
  })

  test('a creation does not wait for another creation, nor an update for a deletion of somebody else', async () => {
    const [held, other, known] = [newUserId(), newUserId(), newUserId()]
    await receiver.user(userOf(known, 0))
    const creations = await overlap(
      'INSERT users',
      { id: held },
      () => receiver.user(userOf(held, 0)),
      () => receiver.user(userOf(other, 0)),
      true,
    )
    const mixed = await overlap(
      'DELETE users',
      { id: held },
      () => receiver.deletion(held),
      () => receiver.user(userOf(known, 1)),
      true,
    )
    expect([...creations, ...mixed]).toEqual(['created', 'created', 'deleted', 'updated'])
    for (const id of [other, known]) await receiver.deletion(id)
  })

  test('a listing that lags behind a deletion puts nobody back within the grace, and later it no longer lags', async () => {
    const [known, fresh] = [await createKnownUser(), world.sandbox.users.create()]
    world.sandbox.clock.advance(hourMs)
    for (const user of [known, fresh]) {
      leave(user)
      await receiver.deletion(user.id)
    }
    const { report } = await world.sync()
    expect(report.counts).toMatchObject({ created: 0, pending: 2 })
    for (const { id } of [known, fresh]) expect(await stand(id)).toEqual(gone)
    await expectPeace()
    for (const { id } of [known, fresh]) expect(await stand(id)).toEqual(gone)
  })

  test('only a pass lifts a tombstone, after the grace, when the listing has the user; then deliveries land again', async () => {
    const user = await createKnownUser()
    await receiver.deletion(user.id)
    expect(await receiver.user(desiredOf(user))).toBe('stale')
    const young = await world.sync()
    expect(young.report.counts).toMatchObject({ created: 0, pending: 1 })
    await world.database.sql`
      update clerk_sync.tombstones set deleted_at = deleted_at - interval '27 hours' where clerk_id = ${user.id}`
    expect(await receiver.user(desiredOf(user))).toBe('stale')
    expect(await stand(user.id)).toEqual(gone)
    const old = await world.sync()
    expect(old.report.counts).toMatchObject({ created: 1, pending: 0 })
    expect(await stand(user.id)).toEqual({ name: 'Old', tombstone: false })
    const news = rename(user)
    expect(await receiver.user(desiredOf(news))).toBe('updated')
    await expectPeace()
  })
})

test('a pass of many pages, with deliveries between every two of its requests, ends as Clerk is', async () => {
  const clock = createClock({ at: Date.UTC(2026, 5, 1), frozen: true })
  const world = await createWorld({ clock })
  const receiver = await openReceiver(world.database.url)
  onTestFinished(async () => {
    await receiver.database.close()
    await world.close()
  })
  const { users } = world.sandbox
  for (let index = 0; index < 200; index++) {
    users.create({ first_name: 'Old' })
    clock.advance(1000)
  }
  clock.advance(hourMs)
  await world.sync()
  // Half of the rows are missing, so that the pass creates as well as compares.
  await world.database
    .sql`delete from users where ctid in (select ctid from users order by clerk_id limit 100)`
  // A listing shows what was three seconds ago; every delivery below is newer news than the page.
  world.sandbox.listingLagMs = 3000

  const outcomes: Record<string, number> = {}
  const note = (outcome: string) => {
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
  }
  let request = 0
  world.sandbox.onRequest = async () => {
    request++
    clock.advance(400)
    // Users before, on and after the page in hand.
    const everybody = users.all()
    for (const share of [0.1, 0.5, 0.9]) {
      const place = Math.floor(everybody.length * share)
      const [leaving, renamed] = [everybody[place], everybody[place + 1]]
      if (leaving === undefined || renamed === undefined) continue
      const before = users.get(renamed.id)
      users.delete(leaving.id)
      note(await receiver.deletion(leaving.id))
      note(await receiver.user(desiredOf(users.update(renamed.id, { first_name: `New${request}` }))))
      // The same again, out of order.
      note(await receiver.user(desiredOf(leaving)))
      if (before !== undefined) note(await receiver.user(desiredOf(before)))
    }
    // Not for ever: a pass reads on until a page brings nobody new.
    if (request <= 20) note(await receiver.user(desiredOf(users.create({ first_name: 'Fresh' }))))
  }
  const { report } = await world.sync({ pageSize: 20 })
  world.sandbox.onRequest = undefined
  expect(request).toBeGreaterThan(10)
  expect(outcomes).toMatchObject({
    stale: expect.any(Number),
    deleted: expect.any(Number),
    absent: expect.any(Number),
  })
  expect(report.error).toBeNull()
  expect(report.counts.deleted).toBe(0)

  // Already now nobody is there who has been deleted, and no row is older than the news delivered.
  const wanted = world.wanted()
  for (const [id, row] of await world.rows()) {
    expect(wanted.has(id)).toBe(true)
    if (row.name.startsWith('New')) expect(row).toEqual(wanted.get(id))
  }
  clock.advance(hourMs)
  await world.database.sql`update clerk_sync.tombstones set deleted_at = deleted_at - interval '1 hour'`
  await world.sync()
  expect(await world.rows()).toEqual(world.wanted())
})
