import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { tableStatistics } from '../support/database.ts'
import { createWorld, type World } from '../support/world.ts'

const noFlags = { detailedExitcode: false, skipIfRunning: false }
const users = 250
let world: World

beforeEach(async () => {
  world = await createWorld({ users: seedUsers({ count: users, seed: 8 }) })
  await world.sync()
})
afterEach(() => world.close())

/** Deletes that many users in Clerk, and gives them. */
const leave = (count: number) => {
  const users = world.sandbox.users.all().slice(0, count)
  for (const { id } of users) world.sandbox.users.delete(id)
  return users
}
const tombstones = async () => (await world.database.sql`select from clerk_sync.tombstones`).length
const approvalIn = (notes: readonly string[]) =>
  notes.flatMap((note) => /npm run sync -- --approve-deletes (\d+)/.exec(note)?.slice(1) ?? []).map(Number)
/** An hour passes: on Postgres's clock, so what it has stamped moves back. */
const passAnHour = async () => {
  for (const table of ['tombstones', 'runs']) {
    await world.database.sql`
      update ${world.database.sql(`clerk_sync.${table}`)} set deleted_at = deleted_at - interval '61 minutes'`
  }
}

describe('with 40 % of the users gone', () => {
  test('no row goes, everything else is applied, and the note’s command finishes the job', async () => {
    const gone = leave(100)
    const [first, second] = world.sandbox.users.all()
    world.sandbox.users.update(first?.id ?? '', { first_name: 'Changed' })
    world.sandbox.users.signIn(second?.id ?? '')
    world.sandbox.users.create()
    const withheld = await world.sync()
    expect(withheld.report).toMatchObject({
      status: 'withheld',
      error: null,
      counts: { created: 1, updated: 1, refreshed: 1, deleted: 0, withheld: 100, rejected: 0 },
    })
    expect(exitCodeOf(withheld, noFlags)).toBe(3)
    expect(await tombstones()).toBe(0)
    const rows = await world.rows()
    expect(gone.every(({ id }) => rows.has(id))).toBe(true)
    for (const [id, values] of world.wanted()) expect(rows.get(id)).toEqual(values)

    const [approval] = approvalIn(withheld.report.notes)
    expect(approval).toBe(100)
    const approved = await world.sync({ approveDeletes: approval })
    expect(approved.report).toMatchObject({ status: 'succeeded', counts: { deleted: 100, withheld: 0 } })
    expect(exitCodeOf(approved, noFlags)).toBe(0)
    expect(await world.rows()).toEqual(world.wanted())
    expect(await tombstones()).toBe(100)
  })

  test('an approval one too small holds everything back again, and names the right one', async () => {
    leave(100)
    const { report } = await world.sync({ approveDeletes: 99 })
    expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 0, withheld: 100 } })
    expect(approvalIn(report.notes)).toEqual([100])
    expect((await world.rows()).size).toBe(users)
  })

  test('an approval is good for one run, which looks again', async () => {
    const gone = leave(100)
    await world.sync()
    // Twenty are back, so that the approval of a hundred is larger than what is left.
    for (const user of gone.slice(0, 20)) world.sandbox.users.putRaw(user)
    const approved = await world.sync({ approveDeletes: 100 })
    expect(approved.report).toMatchObject({ status: 'succeeded', counts: { deleted: 80 } })
    expect(await world.rows()).toEqual(world.wanted())
    leave(30)
    expect((await world.sync()).report).toMatchObject({ status: 'withheld', counts: { withheld: 30 } })
  })

  test('a dry run says the same and writes nothing; asked for details it exits with 3', async () => {
    leave(100)
    const before = await tableStatistics(world.database.sql)
    const dry = await world.sync({ dryRun: true })
    expect(dry.report).toMatchObject({
      status: 'withheld',
      runId: null,
      counts: { deleted: 0, withheld: 100 },
    })
    expect(approvalIn(dry.report.notes)).toEqual([100])
    expect(exitCodeOf(dry, { ...noFlags, detailedExitcode: true })).toBe(3)
    expect(await tableStatistics(world.database.sql)).toEqual(before)
  })

  test('under upsert-only nothing goes, and that is a success', async () => {
    leave(100)
    const outcome = await world.sync({ policy: 'upsert-only' })
    expect(outcome.report).toMatchObject({ status: 'succeeded', counts: { deleted: 0, withheld: 100 } })
    expect(exitCodeOf(outcome, noFlags)).toBe(0)
    expect(outcome.report.notes.join()).toContain('SYNC_POLICY is upsert-only')
    expect((await world.rows()).size).toBe(users)
    // No approval and no MAX_DELETES change that.
    const approved = await world.sync({ policy: 'upsert-only', approveDeletes: 100, maxDeletes: 1000 })
    expect(approved.report.counts).toMatchObject({ deleted: 0, withheld: 100 })
  })

  test('a rejected user beside them makes the run partial, which weighs more', async () => {
    leave(100)
    world.sandbox.users.putRaw({ ...world.sandbox.users.all()[5], first_name: 7 })
    const outcome = await world.sync()
    expect(outcome.report).toMatchObject({
      status: 'partial',
      counts: { deleted: 0, withheld: 100, rejected: 1 },
    })
    expect(exitCodeOf(outcome, noFlags)).toBe(4)
  })
})

describe('the guard over the hour', () => {
  test('counts every run: twelve and twelve go, the next twelve are withheld until an hour has passed', async () => {
    leave(12)
    expect((await world.sync()).report.counts).toMatchObject({ deleted: 12, withheld: 0 })
    // 238 rows are left: 23 an hour, of which 12 are used up.
    leave(11)
    expect((await world.sync()).report.counts).toMatchObject({ deleted: 11, withheld: 0 })
    leave(12)
    for (let times = 0; times < 2; times++) {
      const { report } = await world.sync()
      expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 0, withheld: 12 } })
      expect(report.notes.join()).toContain('0 allowed now')
      expect(approvalIn(report.notes)).toEqual([12])
    }
    expect(await tombstones()).toBe(23)
    await passAnHour()
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 12 } })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('lets ten of the smallest table go, and not eleven', async () => {
    leave(230)
    await world.sync({ approveDeletes: 230 })
    const [back] = leave(11)
    expect((await world.sync()).report.counts).toMatchObject({ deleted: 0, withheld: 11 })
    world.sandbox.users.putRaw(back)
    expect((await world.sync()).report).toMatchObject({
      status: 'succeeded',
      counts: { deleted: 10, withheld: 0 },
    })
    expect(await world.rows()).toEqual(world.wanted())
  })

  test('leaves approved runs and webhooks out', async () => {
    leave(100)
    await world.sync({ approveDeletes: 100 })
    await world.database.sql`insert into clerk_sync.tombstones (clerk_id)
      select 'user_webhook' || n from generate_series(1, 100) n`
    leave(15)
    expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { deleted: 15 } })
  })

  test('is not counted up by a run whose approval fell short', async () => {
    leave(30)
    await world.sync({ approveDeletes: 29 })
    expect(await tombstones()).toBe(0)
    expect((await world.sync({ approveDeletes: 30 })).report.counts).toMatchObject({ deleted: 30 })
  })
})

describe('MAX_DELETES', () => {
  test('of 0 holds every deletion back, and an approval still overrules it', async () => {
    leave(1)
    const { report } = await world.sync({ maxDeletes: 0 })
    expect(report).toMatchObject({ status: 'withheld', counts: { deleted: 0, withheld: 1 } })
    expect(approvalIn(report.notes)).toEqual([1])
    expect((await world.sync({ maxDeletes: 0, approveDeletes: 1 })).report.counts).toMatchObject({
      deleted: 1,
    })
  })

  test('replaces floor and ceiling, but counts the hour', async () => {
    leave(4)
    expect((await world.sync({ maxDeletes: 3 })).report.counts).toMatchObject({ deleted: 0, withheld: 4 })
    expect((await world.sync({ maxDeletes: 4 })).report.counts).toMatchObject({ deleted: 4, withheld: 0 })
    leave(1)
    expect((await world.sync({ maxDeletes: 4 })).report.counts).toMatchObject({ deleted: 0, withheld: 1 })
    leave(119)
    expect((await world.sync({ maxDeletes: 124 })).report.counts).toMatchObject({ deleted: 120, withheld: 0 })
    expect(await world.rows()).toEqual(world.wanted())
  })
})

test('with no user left in Clerk not even the few that the guard lets go are deleted, but with an approval', async () => {
  leave(users - 4)
  await world.sync({ approveDeletes: users })
  leave(4)
  const { report } = await world.sync()
  expect(report).toMatchObject({ status: 'withheld', counts: { seen: 0, deleted: 0, withheld: 4 } })
  expect(approvalIn(report.notes)).toEqual([4])
  expect((await world.rows()).size).toBe(4)
  expect((await world.sync({ maxDeletes: 1000 })).report.counts).toMatchObject({ deleted: 0, withheld: 4 })
  expect((await world.sync({ approveDeletes: 4 })).report).toMatchObject({
    status: 'succeeded',
    counts: { deleted: 4, withheld: 0 },
  })
  expect((await world.rows()).size).toBe(0)
})

test('an approval of more than there is deletes what Clerk denies, and nothing else', async () => {
  const gone = leave(3)
  const { report } = await world.sync({ approveDeletes: 1000 })
  expect(report.counts).toMatchObject({ deleted: 3, unchanged: users - 3 })
  const rows = await world.rows()
  expect(gone.some(({ id }) => rows.has(id))).toBe(false)
  expect(rows).toEqual(world.wanted())
})
