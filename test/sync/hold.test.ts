// The hold on deletions: a first look at a table that had rows, and users who come back, make every run wait for an
// operator.
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createClerkClient } from '../../src/clerk/api.ts'
import { openDatabase } from '../../src/db/database.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { watchTable } from '../../src/worker/table.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type SyncOptions, type World } from '../support/world.ts'

const here = 'ins_2aBcDeFgHiJkLmNoPqRsTuVwXyZ'
const there = 'ins_9zYxWvUtSrQpOnMlKjIhGfEdCbA'
const noFlags = { detailedExitcode: false, skipIfRunning: false }

let world: World
beforeEach(async () => {
  world = await createWorld({ instanceId: here, users: seedUsers({ count: 100, seed: 1, instanceId: here }) })
})
afterEach(() => world.close())

const usersOfAnother = (count: number) =>
  seedUsers({ count, seed: 2, instanceId: there }).map((user) => user.id)
const idsHere = (count: number) =>
  world.sandbox.users
    .all()
    .slice(0, count)
    .map((user) => user.id)

/** Rows as an app's old webhook left them two days ago: nothing but an absence keeps them. */
const fill = async (...ids: string[]) => {
  await world.database.sql`insert into users (clerk_id, name, image_url, created_at)
    select id, 'Somebody', '', now() - interval '2 days' from unnest(${ids}::text[]) as t(id)`
}
const hold = async () => {
  const [state] = await world.database.sql<{ reason: string | null }[]>`
    select split_part(deletion_hold, ' ', 1) as reason from clerk_sync.state`
  return state?.reason
}
const run = async (options: SyncOptions = {}) => {
  const outcome = await world.sync(options)
  const { status, counts, notes } = outcome.report
  const { deleted, withheld } = counts
  return { exit: exitCodeOf(outcome, noFlags), status, deleted, withheld, notes: notes.join('\n') }
}
const withheld = (count: number, why: string) => ({
  exit: 3,
  status: 'withheld',
  deleted: 0,
  withheld: count,
  notes: expect.stringContaining(
    `${count} deletions withheld: ${why}. If they are right: npm run sync -- --approve-deletes ${count}`,
  ),
})
const firstLook = 'this is the first look at a table that already had rows'
const cameBack = 'a user came back whose row a run had deleted'
const gone = (deleted: number) => ({ exit: 0, status: 'succeeded', deleted, withheld: 0 })
const leave = (...ids: string[]) => {
  const users = world.sandbox.users.all().filter((user) => ids.includes(user.id))
  for (const { id } of users) world.sandbox.users.delete(id)
  return () => {
    for (const user of users) world.sandbox.users.putRaw(user)
  }
}
/** Moves what Postgres has stamped back, as if so many minutes had passed. */
const passMinutes = async (minutes: number) => {
  const { sql } = world.database
  for (const table of ['tombstones', 'runs']) {
    await sql`update ${sql(`clerk_sync.${table}`)} set deleted_at = deleted_at - ${minutes} * interval '1 minute'`
  }
  await sql`update clerk_sync.state set full_pass_due_at = full_pass_due_at - ${minutes} * interval '1 minute'`
}

describe('the first look at a table that had rows', () => {
  test('is refused where Clerk knows one of ten; accepted by name it deletes nothing until that is approved', async () => {
    const [developer = ''] = idsHere(1)
    const production = usersOfAnother(9)
    await fill(developer, ...production)
    const refused = await world.sync()
    expect(exitCodeOf(refused, noFlags)).toBe(78)
    expect(refused.report.error?.message).toContain('Clerk knows 1 of 10 rows of the users table')
    expect(refused.report.error?.hint).toContain(`--accept-instance ${here}`)
    expect((await world.rows()).size).toBe(10)
    expect(await run({ acceptInstance: here })).toMatchObject(withheld(9, firstLook))
    expect(await run()).toMatchObject(withheld(9, firstLook))
    expect(await run({ maxDeletes: 1000 })).toMatchObject(withheld(9, firstLook))
    expect((await world.rows()).size).toBe(109)
  })

  test('goes on where Clerk knows half, withholds in every run, and its approval has to cover all', async () => {
    await fill(...idsHere(6), ...usersOfAnother(6))
    expect(await run()).toMatchObject(withheld(6, firstLook))
    expect(await run({ pass: 'incremental' })).toMatchObject({
      ...withheld(6, firstLook),
      notes: expect.stringContaining(`6 deletions stay withheld: ${firstLook}.`),
    })
    expect(await run({ approveDeletes: 5 })).toMatchObject({ exit: 3, deleted: 0, withheld: 6 })
    expect(await hold()).toBe('first-look')
    expect(await run()).toMatchObject(withheld(6, firstLook))
    expect(await run({ approveDeletes: 6 })).toMatchObject(gone(6))
    expect(await hold()).toBeNull()
    leave(...idsHere(3))
    expect(await run()).toMatchObject(gone(3))
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('is over at once where no row is in doubt', async () => {
    await fill(...idsHere(12))
    expect(await run()).toMatchObject(gone(0))
    expect(await hold()).toBeNull()
    leave(...idsHere(3))
    expect(await run()).toMatchObject(gone(3))
  })

  test('is not over while rows are too young to be judged', async () => {
    await fill(...idsHere(6), ...usersOfAnother(6))
    await world.database.sql`update users set created_at = now()`
    expect(await run()).toMatchObject(gone(0))
    expect(await hold()).toBe('first-look')
    await world.database.sql`update users set created_at = now() - interval '2 days'`
    expect(await run()).toMatchObject(withheld(6, firstLook))
  })

  test('is also that of the worker, which binds the table before its first run', async () => {
    await fill(...idsHere(6), ...usersOfAnother(6))
    const database = openDatabase(world.database.url)
    const stop = new AbortController()
    const clerk = () =>
      createClerkClient({
        secretKey: world.sandbox.secretKey,
        apiUrl: world.sandbox.url,
        signal: stop.signal,
      })
    const log = pino({ level: 'silent' })
    await watchTable({ database, clerk, log, signal: stop.signal }).prepare()
    stop.abort()
    await database.close()
    expect(await hold()).toBe('first-look')
    expect(await run({ trigger: 'start' })).toMatchObject(withheld(6, firstLook))
  })

  test('is shown by a dry run, which binds nothing', async () => {
    await fill(...idsHere(6), ...usersOfAnother(6))
    const dryRun = { dryRun: true }
    expect(await run(dryRun)).toMatchObject({ ...withheld(6, firstLook), exit: 0 })
    expect(await hold()).toBeUndefined()
    expect(await run({ ...dryRun, approveDeletes: 6 })).toMatchObject({ status: 'succeeded', deleted: 6 })
    await run()
    expect(await run(dryRun)).toMatchObject({ ...withheld(6, firstLook), exit: 0 })
  })

  test('holds a single user’s deletion too, and upsert-only keeps its exit', async () => {
    const [stranger = '', ...others] = usersOfAnother(6)
    await fill(...idsHere(6), stranger, ...others)
    expect(await run({ pass: 'user', userId: stranger })).toMatchObject(withheld(1, firstLook))
    const kept = await run({ policy: 'upsert-only' })
    expect(kept).toMatchObject({ exit: 0, status: 'succeeded', withheld: 6 })
    expect(kept.notes).toContain('SYNC_POLICY is upsert-only')
    expect((await world.rows()).has(stranger)).toBe(true)
    expect(await hold()).toBe('first-look')
  })

  test('comes again when the table follows another instance', async () => {
    await run()
    expect(await hold()).toBeNull()
    const other = await createWorld({
      instanceId: there,
      users: seedUsers({ count: 12, seed: 2, instanceId: there }),
    })
    try {
      await world.database.sql`delete from users where clerk_id <> all(${idsHere(4)}::text[])`
      const { report } = await other.sync({ acceptInstance: there, databaseUrl: world.database.url })
      expect(report).toMatchObject({ status: 'withheld', counts: { created: 12, deleted: 0, withheld: 4 } })
      expect(report.notes.join()).toContain(firstLook)
    } finally {
      await other.close()
    }
  })
})

describe('users who come back', () => {
  beforeEach(async () => {
    await run()
  })

  test('do not free the guard: ten and ten others, four times, take ten of a hundred rows within the hour', async () => {
    let deleted = 0
    for (let times = 0; times < 4; times++) {
      const comeBack = leave(...idsHere(100).slice(times * 10, times * 10 + 10))
      deleted += (await run()).deleted
      await passMinutes(11)
      comeBack()
    }
    expect(deleted).toBe(10)
    await run()
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('within the hour put deletions on hold, in that very run, until an operator has approved', async () => {
    const comeBack = leave(...idsHere(3))
    expect(await run()).toMatchObject(gone(3))
    await passMinutes(11)
    comeBack()
    leave(...idsHere(5).slice(3))
    expect(await run()).toMatchObject(withheld(2, cameBack))
    expect(await hold()).toBe('returned')
    await passMinutes(120)
    expect(await run({ pass: 'incremental' })).toMatchObject({ exit: 3, withheld: 2 })
    expect(await run({ maxDeletes: 1000 })).toMatchObject(withheld(2, cameBack))
    expect(await run({ approveDeletes: 2 })).toMatchObject(gone(2))
    expect(await hold()).toBeNull()
    leave(...idsHere(1))
    expect(await run()).toMatchObject(gone(1))
  })

  test('keep deletions on hold through passes that find nothing to delete, until an operator has approved', async () => {
    const comeBack = leave(...idsHere(3))
    await run()
    await passMinutes(11)
    comeBack()
    await run()
    expect(await hold()).toBe('returned')
    await passMinutes(120)
    expect(await run()).toMatchObject(gone(0))
    expect(await hold()).toBe('returned')
    leave(...idsHere(1))
    expect(await run()).toMatchObject(withheld(1, cameBack))
    expect(await run({ approveDeletes: 1 })).toMatchObject(gone(1))
    expect(await hold()).toBeNull()
  })

  test('stop keeping them once an operator has approved that there is nothing to delete', async () => {
    const comeBack = leave(...idsHere(3))
    await run()
    await passMinutes(11)
    comeBack()
    await run()
    expect(await run({ approveDeletes: 0 })).toMatchObject(gone(0))
    expect(await hold()).toBeNull()
  })

  describe('and an approval that names a list', () => {
    /** Users have come back, and two others are withheld: the approval that the run hands out. */
    const approvalOfTwo = async () => {
      const comeBack = leave(...idsHere(3))
      await run()
      await passMinutes(11)
      comeBack()
      const comeBackToo = leave(...idsHere(5).slice(3))
      const { notes } = await run()
      const [, count, approvedList] = /--approve-deletes (\d+):([0-9a-f]{8})/.exec(notes) ?? []
      await passMinutes(120)
      return { approval: { approveDeletes: Number(count), approvedList }, comeBackToo }
    }

    test('ends the hold where it has deleted the list and nothing else is in doubt', async () => {
      const { approval } = await approvalOfTwo()
      expect(await run(approval)).toMatchObject(gone(2))
      expect(await hold()).toBeNull()
    })

    test('ends no hold where none of the list is left to delete', async () => {
      const { approval, comeBackToo } = await approvalOfTwo()
      comeBackToo()
      expect(await run(approval)).toMatchObject(gone(0))
      expect(await hold()).toBe('returned')
    })

    test('ends no hold while another row is pending, which it does not speak of', async () => {
      const { approval } = await approvalOfTwo()
      const [id = ''] = idsHere(1)
      world.sandbox.users.update(id, { first_name: 'Late' })
      await run()
      leave(id)
      const { report } = await world.sync(approval)
      expect(report.counts).toMatchObject({ deleted: 2, pending: 1, withheld: 0 })
      expect(await hold()).toBe('returned')
    })
  })

  test('are shown by a dry run as they would be by a run', async () => {
    const comeBack = leave(...idsHere(3))
    await run()
    await passMinutes(11)
    comeBack()
    leave(...idsHere(5).slice(3))
    const before = await tableStatistics(world.database.sql)
    expect(await run({ dryRun: true })).toMatchObject({ ...withheld(2, cameBack), exit: 0 })
    expect(await tableStatistics(world.database.sql)).toEqual(before)
    expect(await hold()).toBeNull()
  })

  test('count also where an approved run had deleted them, and one by one', async () => {
    const [id = ''] = idsHere(1)
    const comeBack = leave(id)
    await run({ approveDeletes: 1 })
    await passMinutes(11)
    comeBack()
    expect((await world.sync({ pass: 'user', userId: id })).report.counts).toMatchObject({ created: 1 })
    expect(await hold()).toBe('returned')
  })

  test('say nothing within the grace, when the list may be older than the deletion, nor hours later', async () => {
    const comeBack = leave(...idsHere(3))
    await run()
    comeBack()
    await passMinutes(9)
    expect(await run()).toMatchObject(gone(0))
    await passMinutes(62)
    expect(await run()).toMatchObject(gone(0))
    expect(await hold()).toBeNull()
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('say nothing where a webhook had deleted them: that was Clerk’s own word', async () => {
    const [id = ''] = idsHere(1)
    const comeBack = leave(id)
    await run()
    await passMinutes(11)
    await world.database.sql`update clerk_sync.tombstones set run_id = null`
    comeBack()
    await run()
    expect(await world.rows()).toEqual(world.wanted())
    expect(await hold()).toBeNull()
  })

  test('stop a run whose deletions were approved before it was known', async () => {
    const [first = '', second = '', third = ''] = idsHere(3)
    const comeBack = leave(first)
    await run()
    await passMinutes(11)
    leave(second)
    world.sandbox.onRequest = async ({ endpoint, path }) => {
      if (endpoint !== 'user' || !path.endsWith(second)) return
      world.sandbox.onRequest = undefined
      comeBack()
      await world.sync({ pass: 'user', userId: first })
    }
    expect(await run({ approveDeletes: 1 })).toMatchObject(withheld(1, cameBack))
    expect(await hold()).toBe('returned')
    expect(await run({ approveDeletes: 1 })).toMatchObject(gone(1))
    expect(await hold()).toBeNull()

    const comeBackToo = leave(third)
    await run()
    await passMinutes(11)
    comeBackToo()
    const [fourth = ''] = idsHere(1)
    leave(fourth)
    // The run itself is the first to read the user again.
    expect(await run({ approveDeletes: 1 })).toMatchObject(withheld(1, cameBack))
    expect((await world.rows()).has(fourth)).toBe(true)
  })

  test('stop a run that is about to delete, and a run ends no hold that began after it', async () => {
    const [first = '', second = ''] = idsHere(2)
    const comeBack = leave(first)
    await run()
    await passMinutes(11)
    leave(second)
    world.sandbox.onRequest = async ({ endpoint, path }) => {
      if (endpoint !== 'user' || !path.endsWith(second)) return
      // The pass has asked the guard and now asks for this user alone.
      world.sandbox.onRequest = undefined
      comeBack()
      await world.sync({ pass: 'user', userId: first })
    }
    expect(await run()).toMatchObject(withheld(1, cameBack))
    expect((await world.rows()).has(second)).toBe(true)

    const third = idsHere(3)[2] ?? ''
    await run({ approveDeletes: 1 })
    const comesBackLate = leave(third)
    await run({ approveDeletes: 1 })
    await passMinutes(11)
    let counts = 0
    world.sandbox.onRequest = async ({ endpoint }) => {
      if (endpoint !== 'count' || ++counts !== 2) return
      world.sandbox.onRequest = undefined
      comesBackLate()
      await world.sync({ pass: 'user', userId: third })
    }
    await run({ approveDeletes: 1 })
    expect(await hold()).toBe('returned')
  })
})
