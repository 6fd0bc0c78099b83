import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readCatalog } from '../../src/db/catalog.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { countDeletions, countRecentDeletions } from '../../src/db/deletion-count.ts'
import { acquireLease, heartbeat, isLeaseHeld, type Lease } from '../../src/db/lease.ts'
import {
  finishRun,
  forgetOldRuns,
  type NewRun,
  noteEndedRun,
  type RunRecord,
  readRuns,
} from '../../src/db/runs.ts'
import { writeTransaction } from '../../src/db/write-transaction.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { blocked } from '../support/endpoint.ts'
import { createWorld } from '../support/world.ts'

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
  await testDatabase.sql`truncate clerk_sync.runs, clerk_sync.tombstones`
})

const run = (host: string): NewRun => ({
  pass: 'full',
  trigger: 'cli',
  instanceId: 'ins_1',
  host,
  approveDeletes: null,
})
const ended: RunRecord = {
  pass: 'full',
  status: 'succeeded',
  counts: { seen: 3 },
  requests: { total: 4, throttled: 0 },
  notes: ['a note'],
  rejected: [],
  withheld: [],
  error: null,
}
const take = async (host = 'here'): Promise<Lease> => {
  const taken = await acquireLease(database, run(host))
  if ('holder' in taken) throw new Error('the lease is held')
  return taken
}
const silence = (runId: number, seconds: number) =>
  testDatabase.sql`update clerk_sync.runs set heartbeat_at = heartbeat_at - ${seconds} * interval '1 second' where id = ${runId}`
const statuses = () =>
  testDatabase.sql<{ id: number; status: string }[]>`select id::int, status from clerk_sync.runs order by id`
const dump = () => testDatabase.sql`select r.*, r.xmin::text as written_by from clerk_sync.runs r order by id`

describe('the lease', () => {
  test('goes to one of eight that ask at once, and the others learn who holds it', async () => {
    const databases = Array.from({ length: 8 }, () => openDatabase(testDatabase.url, { connections: 1 }))
    const taken = await Promise.all(databases.map((each, index) => acquireLease(each, run(`host ${index}`))))
    await Promise.all(databases.map((each) => each.close()))
    const holders = taken.flatMap((each, index) =>
      'holder' in each ? [] : [{ ...each, host: `host ${index}` }],
    )
    expect(holders).toHaveLength(1)
    const [holder] = holders
    expect(await statuses()).toEqual([{ id: holder?.runId, status: 'running' }])
    for (const each of taken) {
      if (!('holder' in each)) continue
      expect(each.holder).toMatchObject({ runId: holder?.runId, host: holder?.host, pass: 'full' })
    }
  })

  test('starts on Postgres’s clock, and a heartbeat moves that of the heart alone', async () => {
    const lease = await take()
    await silence(lease.runId, 20)
    expect(await heartbeat(database.db, lease.runId)).toBe(true)
    const [row] = await testDatabase.sql`
      select (extract(epoch from started_at) * 1000)::float8 = ${lease.startedAt}::float8 as started,
        heartbeat_at >= started_at as beaten, finished_at from clerk_sync.runs`
    expect(row).toEqual({ started: true, beaten: true, finished_at: null })
  })

  test('starts no earlier than the run before has ended, however long it waited for that', async () => {
    const first = await take()
    await silence(first.runId, 31)
    const late = testDatabase.connect()
    await late`begin`
    await late`update clerk_sync.runs set status = 'succeeded', finished_at = clock_timestamp() where id = ${first.runId}`
    const taking = take()
    await blocked(testDatabase.sql, 1)
    await late`update clerk_sync.runs set finished_at = clock_timestamp() where id = ${first.runId}`
    await late`commit`
    const second = await taking
    expect(second.abandoned).toEqual([])
    const [row] = await testDatabase.sql`
      select b.started_at >= a.finished_at and b.heartbeat_at >= b.started_at as after
      from clerk_sync.runs a, clerk_sync.runs b where a.id = ${first.runId} and b.id = ${second.runId}`
    expect(row).toEqual({ after: true })
  })

  test('of a holder silent for 31 seconds is taken over, and it is marked abandoned', async () => {
    const first = await take()
    await silence(first.runId, 31)
    const second = await take()
    expect(second.abandoned).toEqual([first.runId])
    expect(await dump()).toMatchObject([
      { id: String(first.runId), status: 'abandoned', finished_at: expect.any(Date) },
      { id: String(second.runId), status: 'running', finished_at: null },
    ])
  })

  test('of a holder silent for less stays its own', async () => {
    const before = await take()
    await finishRun(database.db, before.runId, ended)
    const first = await take()
    await silence(first.runId, 25)
    expect(await acquireLease(database, run('there'))).toMatchObject({ holder: { runId: first.runId } })
    expect(await statuses()).toEqual([
      { id: before.runId, status: 'succeeded' },
      { id: first.runId, status: 'running' },
    ])
  })

  test('once lost is lost: no beat, no write, no end, and the one who took over is left alone', async () => {
    const first = await take()
    await silence(first.runId, 31)
    const second = await take()
    const before = await dump()
    expect(await heartbeat(database.db, first.runId)).toBe(false)
    expect(await finishRun(database.db, first.runId, ended)).toBe(false)
    const write = writeTransaction(database, { runId: first.runId, deletionLock: 'none' }, (tx) =>
      tx.execute(`insert into users (clerk_id, name, image_url) values ('user_a', '', '')`),
    )
    await expect(write).rejects.toMatchObject({ kind: 'busy', facts: { lost: 'lease' } })
    expect(await dump()).toEqual(before)
    expect(await testDatabase.sql`select from users`).toHaveLength(0)
    expect(await finishRun(database.db, second.runId, ended)).toBe(true)
  })

  test('is free again once the run has ended', async () => {
    const first = await take()
    expect(await finishRun(database.db, first.runId, ended)).toBe(true)
    await silence(first.runId, 31)
    expect((await take()).abandoned).toEqual([])
    expect(await finishRun(database.db, first.runId, ended)).toBe(false)
  })

  test('is no matter of a run about one user: that takes it from nobody, holds nobody up, and is not the holder', async () => {
    const user = async () => {
      const taken = await acquireLease(database, { ...run('there'), pass: 'user' })
      if ('holder' in taken) throw new Error('a run about one user was held up')
      return taken
    }
    const [one, another] = [await user(), await user()]
    expect(await isLeaseHeld(database.db)).toBe(false)
    const full = await take()
    await silence(full.runId, 31)
    expect((await user()).abandoned).toEqual([])
    await silence(full.runId, -31)
    expect(await isLeaseHeld(database.db)).toBe(true)
    expect(await acquireLease(database, run('elsewhere'))).toMatchObject({ holder: { runId: full.runId } })
    expect(await finishRun(database.db, one.runId, { ...ended, pass: 'user' })).toBe(true)
    expect(await heartbeat(database.db, another.runId)).toBe(true)
  })

  test('is not needed to mark a crashed run about one user: the next run of either kind does it', async () => {
    const crashed = async () => {
      const taken = await acquireLease(database, { ...run('there'), pass: 'user' })
      if ('holder' in taken) throw new Error('a run about one user was held up')
      await silence(taken.runId, 31)
      return taken.runId
    }
    const first = await crashed()
    const second = await acquireLease(database, { ...run('here'), pass: 'user' })
    expect(second).toMatchObject({ abandoned: [first] })
    const third = await crashed()
    expect((await take()).abandoned).toEqual([third])
    const lost = writeTransaction(database, { runId: third, deletionLock: 'none' }, async () => {})
    await expect(lost).rejects.toMatchObject({ kind: 'busy', facts: { lost: 'lease' } })
  })

  test('is looked at without a row lock: a write neither waits for a heartbeat nor holds one up', async () => {
    const lease = await take()
    const beating = testDatabase.connect()
    await beating`begin`
    await beating`update clerk_sync.runs set heartbeat_at = now() where id = ${lease.runId}`
    await writeTransaction(database, { runId: lease.runId, deletionLock: 'shared' }, async () => {
      await beating`commit`
      expect(await heartbeat(database.db, lease.runId)).toBe(true)
    })
  })
})

describe('a number', () => {
  const numbers = async () => (await statuses()).map((row) => row.id)

  test('is not used up by a run that comes too late', async () => {
    const first = await take()
    for (let count = 0; count < 3; count += 1) {
      expect(await acquireLease(database, run('late'))).toHaveProperty('holder')
    }
    await finishRun(database.db, first.runId, ended)
    expect((await take()).runId).toBe(first.runId + 1)
  })

  test.each(['always', 'by default'])(
    'is free where the sequence is behind the ids (identity %s)',
    async (kind) => {
      const { sql } = testDatabase
      await sql.unsafe(`alter table clerk_sync.runs alter id set generated ${kind}`)
      await sql.unsafe('alter table clerk_sync.runs alter id restart with 1')
      await sql`insert into clerk_sync.runs (id, pass, trigger, status, host) overriding system value
      select n, 'full', 'cli', 'succeeded', 'old' from generate_series(1, 40) as n`
      const first = await take()
      expect(first.runId).toBe(41)
      expect(await acquireLease(database, run('late'))).toMatchObject({ holder: { runId: 41 } })
      await finishRun(database.db, first.runId, ended)
      const single = await acquireLease(database, { ...run('here'), pass: 'user' })
      expect(single).toMatchObject({ runId: 42 })
      expect(await noteEndedRun(database, run('here'), { ...ended, status: 'failed' }, 10, 5000)).toBe(43)
      expect((await numbers()).slice(-3)).toEqual([41, 42, 43])
      await sql.unsafe('alter table clerk_sync.runs alter id set generated always')
      await sql.unsafe('alter table clerk_sync.runs alter id restart with 1000')
    },
  )

  test('goes to one of eight that ask at once, also where the sequence is behind', async () => {
    const { sql } = testDatabase
    await sql`insert into clerk_sync.runs (id, pass, trigger, status, host) overriding system value
      select n, 'full', 'cli', 'succeeded', 'old' from generate_series(2000, 2020) as n`
    await sql.unsafe('alter table clerk_sync.runs alter id restart with 2000')
    const databases = Array.from({ length: 8 }, () => openDatabase(testDatabase.url, { connections: 1 }))
    const taken = await Promise.all(databases.map((each, index) => acquireLease(each, run(`host ${index}`))))
    await Promise.all(databases.map((each) => each.close()))
    expect(taken.filter((each) => 'runId' in each)).toHaveLength(1)
    await sql.unsafe('alter table clerk_sync.runs alter id restart with 3000')
  })
})

describe('the history', () => {
  test('has a run that ended before it had a line, as long ago as it began, and it holds no lease', async () => {
    const holder = await take('holder')
    const failed = { ...ended, status: 'failed', error: { kind: 'transient', message: 'no' } }
    const runId = await noteEndedRun(database, { ...run('early'), instanceId: null }, failed, 60_000, 5000)
    const [early] = await readRuns(database.db, 1, await readCatalog(database.db))
    expect(early).toMatchObject({
      runId,
      status: 'failed',
      host: 'early',
      instanceId: null,
      error: failed.error,
    })
    const duration = Date.parse(early?.finishedAt ?? '') - Date.parse(early?.startedAt ?? '')
    expect(duration).toBe(60_000)
    expect(await heartbeat(database.db, holder.runId)).toBe(true)
  })

  test('has what a run found, newest first, with the first hundred of the rejected and of the withheld', async () => {
    const first = await take('first')
    const rejected = Array.from({ length: 101 }, (_, index) => ({ clerkId: `user_${index}`, reason: 'why' }))
    const withheld = rejected.map(({ clerkId }) => ({ clerkId, missedSince: null }))
    const error = { kind: 'contract', message: 'no', hint: 'look' }
    const failed = { ...ended, pass: 'incremental', status: 'failed', rejected, withheld, error }
    await finishRun(database.db, first.runId, failed)
    const second = await take('second')
    const runs = await readRuns(database.db, 5, await readCatalog(database.db))
    expect(runs).toMatchObject([
      { runId: second.runId, status: 'running', host: 'second', finishedAt: null, counts: null },
      {
        runId: first.runId,
        pass: 'incremental',
        status: 'failed',
        counts: { seen: 3 },
        notes: ['a note'],
        error,
      },
    ])
    expect(Date.parse(runs[1]?.finishedAt ?? '')).toBeGreaterThanOrEqual(first.startedAt)
    expect(runs[1]?.rejected).toEqual(rejected.slice(0, 100))
    expect(runs[1]?.withheld).toEqual(withheld.slice(0, 100))
    expect(await readRuns(database.db, 1, await readCatalog(database.db))).toHaveLength(1)
  })

  test('goes back 30 days, and always has the newest run', async () => {
    const ids: number[] = []
    for (const age of ['40 days', '31 days', '29 days', '1 day']) {
      const { runId } = await take()
      await finishRun(database.db, runId, ended)
      await testDatabase.sql`update clerk_sync.runs set started_at = now() - ${age}::text::interval where id = ${runId}`
      ids.push(runId)
    }
    await forgetOldRuns(database.db)
    expect((await statuses()).map((row) => row.id)).toEqual(ids.slice(2))
    await testDatabase.sql`update clerk_sync.runs set started_at = now() - interval '40 days'`
    await forgetOldRuns(database.db)
    expect((await statuses()).map((row) => row.id)).toEqual(ids.slice(3))
  })

  test('counts what runs have deleted within an hour, one under way and one about one user included, but no approved one', async () => {
    const delete_ = async (of: Partial<NewRun>, deleted: number, minutesAgo: number, ends = true) => {
      const taken = await acquireLease(database, { ...run('here'), ...of })
      if ('holder' in taken) throw new Error('the lease is held')
      await countDeletions(database.db, taken.runId, deleted)
      await testDatabase.sql`update clerk_sync.runs set deleted_at = now() - ${minutesAgo} * interval '1 minute'
        where id = ${taken.runId}`
      if (ends) await finishRun(database.db, taken.runId, { ...ended, ...of })
    }
    const count = async () => countRecentDeletions(database.db, await readCatalog(database.db))
    expect(await count()).toBe(0)
    await delete_({}, 1, 61)
    expect(await count()).toBe(0)
    await delete_({}, 2, 59)
    await delete_({ approveDeletes: 5 }, 4, 0)
    await delete_({ pass: 'user' }, 8, 0)
    await delete_({}, 16, 0, false)
    expect(await count()).toBe(26)
    // Tombstones say nothing: a webhook leaves them too, and a user who comes back takes theirs away.
    await testDatabase.sql`insert into clerk_sync.tombstones (clerk_id, run_id)
      select 'user_' || id, id from clerk_sync.runs`
    expect(await count()).toBe(26)
  })
})

describe('a run', () => {
  test('that loses its lease midway writes nothing more, says so, and leaves the ledger as it is', async () => {
    const world = await createWorld({ users: seedUsers({ count: 60, seed: 3 }) })
    try {
      const lists: number[] = []
      world.sandbox.onRequest = async (request) => {
        if (request.endpoint !== 'list' || request.query.get('limit') !== '20') return
        lists.push(lists.length)
        // The second page is on its way: the first has been written.
        if (lists.length !== 2) return
        await world.database.sql`update clerk_sync.runs set heartbeat_at = now() - interval '31 seconds'`
        const other = openDatabase(world.database.url, { connections: 1 })
        expect(await acquireLease(other, run('another'))).toHaveProperty('runId')
        await other.close()
      }
      const outcome = await world.sync({ pageSize: 20 })
      const { report } = outcome
      expect(report).toMatchObject({
        status: 'failed',
        error: { kind: 'busy', message: 'this run was silent for too long and lost its lease' },
      })
      expect(exitCodeOf(outcome, { detailedExitcode: false, skipIfRunning: true })).toBe(75)
      expect(report.counts.created).toBe(20)
      expect((await world.rows()).size).toBe(20)
      const runs = await world.database
        .sql`select host = 'another' as other, status, counts from clerk_sync.runs order by id`
      expect(runs).toEqual([
        { other: false, status: 'abandoned', counts: null },
        { other: true, status: 'running', counts: null },
      ])
    } finally {
      await world.close()
    }
  })

  test('that loses it after its last write is no success, and keeps no watermark', async () => {
    const world = await createWorld({ users: seedUsers({ count: 5, seed: 3 }) })
    try {
      world.sandbox.onRequest = async ({ endpoint }, nth) => {
        // The count at the end: everything has been written.
        if (endpoint === 'count' && nth === 2)
          await world.database.sql`update clerk_sync.runs set status = 'abandoned'`
      }
      const { report } = await world.sync()
      expect(report).toMatchObject({ status: 'failed', error: { kind: 'busy' }, counts: { created: 5 } })
      const [state] = await world.database.sql`select watermark from clerk_sync.state`
      expect(state).toEqual({ watermark: null })
    } finally {
      await world.close()
    }
  })

  test('answers at once and writes nothing where another one holds the lease', async () => {
    const world = await createWorld({ users: seedUsers({ count: 5, seed: 3 }) })
    const other = openDatabase(world.database.url, { connections: 1 })
    try {
      await acquireLease(other, run('another'))
      const outcome = await world.sync()
      expect(outcome.report).toMatchObject({ status: 'skipped', runId: null, error: { kind: 'busy' } })
      expect(outcome.report.error?.hint).toContain('on another has been at it for')
      expect(exitCodeOf(outcome, { detailedExitcode: false, skipIfRunning: false })).toBe(75)
      expect(exitCodeOf(outcome, { detailedExitcode: false, skipIfRunning: true })).toBe(0)
      expect((await world.rows()).size).toBe(0)
      expect(await world.database.sql`select from clerk_sync.state`).toHaveLength(0)
    } finally {
      await other.close()
      await world.close()
    }
  })

  test('takes over from one that died, and logs which', async () => {
    const world = await createWorld({ users: seedUsers({ count: 5, seed: 3 }) })
    const other = openDatabase(world.database.url, { connections: 1 })
    try {
      const dead = await acquireLease(other, run('another'))
      await world.database.sql`update clerk_sync.runs set heartbeat_at = now() - interval '31 seconds'`
      const { report, log } = await world.sync()
      expect(report.status).toBe('succeeded')
      expect(log).toContain(
        `"runId":${'runId' in dead && dead.runId},"msg":"a run that fell silent was marked abandoned"`,
      )
      expect(await world.rows()).toEqual(world.wanted())
    } finally {
      await other.close()
      await world.close()
    }
  })
})
