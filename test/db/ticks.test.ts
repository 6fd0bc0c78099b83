// What workers read off the ledger: whether a tick is taken, whether a run is under way, how old the last full pass is.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readClock } from '../../src/db/clock.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { acquireLease, hasRun, isLeaseHeld } from '../../src/db/lease.ts'
import { lastFullPassAge } from '../../src/db/runs.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let testDatabase: TestDatabase
let database: Database

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url)
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})
beforeEach(async () => {
  await testDatabase.sql`truncate clerk_sync.runs`
})

const tick = { passes: ['full', 'incremental'], seconds: 100 }
interface Run {
  pass?: string
  trigger?: string
  status?: string
  /** Seconds since it began. */
  age?: number
  /** Seconds since its last heartbeat. */
  silent?: number
}
const addRun = ({
  pass = 'full',
  trigger = 'schedule',
  status = 'succeeded',
  age = 50,
  silent = 0,
}: Run = {}) =>
  testDatabase.sql`
  insert into clerk_sync.runs (pass, trigger, status, instance_id, host, started_at, heartbeat_at)
  values (${pass}, ${trigger}, ${status}, 'ins_1', 'here', now() - ${age} * interval '1 second',
    now() - ${silent} * interval '1 second')`

describe('a tick', () => {
  test.each<[says: string, run: Run, taken: boolean]>([
    ['is taken by a run that succeeded', {}, true],
    ['is taken by one that ended in part', { status: 'partial' }, true],
    ['is taken by one that withheld deletions', { status: 'withheld' }, true],
    ['is taken by any pass that does what it asks for', { pass: 'incremental' }, true],
    ['is taken by the run at the worker’s start', { trigger: 'start' }, true],
    ['is taken by a run under way', { status: 'running' }, true],
    ['is left by a run that fell silent', { status: 'running', silent: 31 }, false],
    ['is left by a run that failed', { status: 'failed' }, false],
    ['is left by a run that was abandoned', { status: 'abandoned' }, false],
    ['is left by another pass', { pass: 'user' }, false],
    ['is left by the command line', { trigger: 'cli' }, false],
    ['is left by a run that began before it', { age: 101 }, false],
    ['is left by a run that begins in the future, by a clock that was ahead', { age: -7200 }, false],
    ['is taken by a run that began a moment ahead', { age: -5 }, true],
    ['is left by a run whose heart beat in the future', { status: 'running', silent: -7200 }, false],
  ])('%s', async (_says, run, taken) => {
    expect(await hasRun(database.db, tick)).toBe(false)
    await addRun(run)
    expect(await hasRun(database.db, tick)).toBe(taken)
  })

  test('that is taken gives no lease, and names no holder where the run has ended', async () => {
    const run = { pass: 'full', trigger: 'schedule', instanceId: 'ins_1', host: 'here', approveDeletes: null }
    await addRun()
    expect(await acquireLease(database, run, tick)).toEqual({ holder: undefined })
    expect(await acquireLease(database, run, { ...tick, seconds: 20 })).toHaveProperty('runId')
  })
})

describe('the lease is held', () => {
  test.each<[says: string, run: Run, held: boolean]>([
    ['by a run that beats', { status: 'running', silent: 25 }, true],
    ['not by one that fell silent', { status: 'running', silent: 31 }, false],
    ['not by one whose heart beat in the future', { status: 'running', silent: -7200 }, false],
    ['not by one that has ended', {}, false],
  ])('%s', async (_says, run, held) => {
    expect(await isLeaseHeld(database.db)).toBe(false)
    await addRun(run)
    expect(await isLeaseHeld(database.db)).toBe(held)
  })
})

describe('the last full pass', () => {
  test('is the newest that came to its end, whoever started it', async () => {
    expect(await lastFullPassAge(database.db)).toBeUndefined()
    await addRun({ pass: 'incremental', age: 10 })
    await addRun({ status: 'failed', age: 20 })
    await addRun({ age: -7200 })
    expect(await lastFullPassAge(database.db)).toBeUndefined()
    for (const [status, age] of [
      ['succeeded', 9000],
      ['partial', 6000],
      ['withheld', 3000],
    ] as const) {
      await addRun({ status, age, trigger: 'cli' })
      // Whole seconds, but for the time that this test takes.
      expect(await lastFullPassAge(database.db)).toBeGreaterThan(age - 0.01)
      expect(await lastFullPassAge(database.db)).toBeLessThan(age + 1000)
    }
  })
})

describe('after a failover to a host whose clock is two hours behind', () => {
  const run = { pass: 'full', trigger: 'cli', instanceId: 'ins_1', host: 'here', approveDeletes: null }
  const ahead = -7200

  test('a holder that died is silent from the first look on, and one that lives is left alone', async () => {
    await addRun({ status: 'running', age: ahead, silent: ahead })
    const first = await acquireLease(database, run)
    expect(first).toMatchObject({ holder: { host: 'here', runningForSeconds: null } })
    const [row] = await testDatabase.sql`
      select status, heartbeat_at between now() - interval '1 minute' and now() as now from clerk_sync.runs`
    expect(row).toEqual({ status: 'running', now: true })
    await testDatabase.sql`update clerk_sync.runs set heartbeat_at = heartbeat_at - interval '31 seconds'`
    expect(await acquireLease(database, run)).toMatchObject({ abandoned: [expect.any(Number)] })
  })

  test('a holder that fell silent stays so, whatever else of its line is ahead', async () => {
    await addRun({ status: 'running', age: 100, silent: 31 })
    await testDatabase.sql`update clerk_sync.runs set deleted_at = now() + interval '2 hours'`
    expect(await acquireLease(database, run)).toMatchObject({ abandoned: [expect.any(Number)] })
  })

  test('what was deleted counts for an hour and stays fresh for the grace, both from now on', async () => {
    const { sql } = testDatabase
    await sql`truncate clerk_sync.tombstones`
    await addRun({ age: ahead })
    await addRun({ age: 7300 })
    await sql`update clerk_sync.runs set deleted = 1,
      deleted_at = now() + case when started_at > now() then 1 else -1 end * interval '90 minutes'`
    await sql`insert into clerk_sync.tombstones (clerk_id, deleted_at) values
      ('user_ahead', now() + interval '2 hours'), ('user_behind', now() - interval '2 hours')`
    await acquireLease(database, run)
    const look = (table: string, name: string) =>
      sql.unsafe(`select ${name} as name, deleted_at between now() - interval '1 minute' and now() as now
        from clerk_sync.${table} where deleted_at is not null order by 1`)
    expect([...(await look('tombstones', 'clerk_id'))]).toEqual([
      { name: 'user_ahead', now: true },
      { name: 'user_behind', now: false },
    ])
    expect([...(await look('runs', 'started_at > now()'))]).toEqual([
      { name: false, now: false },
      { name: true, now: true },
    ])
  })
})

test('Postgres’s clock is told in milliseconds', async () => {
  const [clock] = await testDatabase.sql<
    { at: Date }[]
  >`select date_trunc('milliseconds', clock_timestamp()) as at`
  const told = await readClock(database.db)
  expect(told).toBeGreaterThanOrEqual(clock?.at.getTime() ?? Number.NaN)
  expect(told).toBeLessThan((clock?.at.getTime() ?? Number.NaN) + 60_000)
})
