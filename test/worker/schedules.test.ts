// The two schedules in this process, on a real ledger: what runs when, by the rows that the runs left.
import { describe, expect, type TestContext, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { SyncError } from '../../src/errors.ts'
import { checkSchedule, type Schedule } from '../../src/worker/schedules.ts'
import { createWorld, impatient, type World } from '../support/world.ts'
import { type LedgerRow, ledgerOf, ledgerUntil, type Schedules, scheduleIn, until } from './workers.ts'

interface Stage {
  readonly world: World
  readonly sql: World['database']['sql']
  start(schedule: Partial<Schedule>, options?: Parameters<typeof scheduleIn>[2]): Schedules
  /** Stops what was started so far. */
  stop(): Promise<void>
  /** A full pass of the command line that began so many minutes ago. */
  lastFullPass(minutesAgo: number, status?: string): Promise<void>
  /** Holds the lease as another process would. Gives how to let it go. */
  holdLease(): Promise<() => Promise<void>>
}

async function open(context: Pick<TestContext, 'onTestFinished'>): Promise<Stage> {
  const world = await createWorld({ users: seedUsers({ count: 12, seed: 5 }) })
  const { sql } = world.database
  const running: Schedules[] = []
  const stop = async () => {
    await Promise.all(running.splice(0).map((schedules) => schedules.stop()))
  }
  context.onTestFinished(async () => {
    await stop()
    await world.close()
  })
  return {
    world,
    sql,
    stop,
    start(schedule, options) {
      const schedules = scheduleIn(world, schedule, options)
      running.push(schedules)
      return schedules
    },
    async lastFullPass(minutesAgo, status = 'succeeded') {
      await world.sync()
      await sql`
        update clerk_sync.runs set status = ${status}, started_at = now() - ${minutesAgo} * interval '1 minute'`
    },
    async holdLease() {
      await sql`insert into clerk_sync.runs (pass, trigger, status, instance_id, host)
        values ('full', 'cli', 'running', 'ins_1', 'another')`
      return async () => {
        await sql`update clerk_sync.runs set status = 'failed', finished_at = now() where host = 'another'`
      }
    },
  }
}

const everySecond = '* * * * * *'
/** Not during this test. */
const hourly = '0 * * * *'
const quick = { leaseWaitMs: 10_000, leasePollMs: 20 }

const isEnded = (row: LedgerRow) => row.status !== 'running'
const ended = (rows: LedgerRow[], pass: string) => rows.filter((row) => isEnded(row) && row.pass === pass)
const bySchedule = (rows: LedgerRow[]) => rows.filter((row) => row.trigger === 'schedule')

describe('which passes run', () => {
  test.concurrent('each by its schedule, seconds included', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    start({ full: hourly, incremental: everySecond })
    const rows = await ledgerUntil(sql, (found) => ended(found, 'incremental').length >= 2)
    expect(bySchedule(rows).map((row) => row.pass)).not.toContain('full')
  })

  test.concurrent('a schedule that is off runs nothing, not even at start', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(120)
    start({ incremental: everySecond })
    const rows = await ledgerUntil(sql, (found) => ended(found, 'incremental').length >= 2)
    expect(ended(rows, 'full').map((row) => row.trigger)).toEqual(['cli'])
  })

  test.concurrent('at the time of the time zone, not of UTC', async (context) => {
    const { sql, start, stop, lastFullPass } = await open(context)
    await lastFullPass(1)
    // Kolkata is half an hour off, so no hour is the same in both; this one and the next, should it strike.
    const there = new Date(Date.now() + 5.5 * 3600_000)
    const minutes = [there.getUTCMinutes(), (there.getUTCMinutes() + 1) % 60].join(',')
    const timezone = 'Asia/Kolkata'
    start({ full: `* ${minutes} * * * *`, incremental: everySecond, timezone })
    await ledgerUntil(sql, (rows) => bySchedule(ended(rows, 'full')).length > 0)
    await stop()
    await sql`truncate clerk_sync.runs`
    await lastFullPass(1)
    start({ full: `* ${minutes} * * * *`, incremental: everySecond })
    const rows = await ledgerUntil(sql, (found) => ended(found, 'incremental').length >= 2)
    expect(bySchedule(rows).map((row) => row.pass)).not.toContain('full')
  })

  test.concurrent.for([
    { what: 'a day without hours', full: '0 0 30 2 *' },
    { what: 'a number out of range', full: '99 * * * *' },
    { what: 'a word', full: 'sometimes' },
  ])('$what is wrong configuration, by the name of its variable', ({ full }) => {
    const check = () => checkSchedule({ full, incremental: '*/5 * * * *', timezone: 'UTC' })
    expect(check).toThrow(SyncError)
    expect(check).toThrow(/^FULL_SCHEDULE /)
  })
})

describe('at start', () => {
  test.concurrent.for([
    { what: 'an hour and a minute ago', minutesAgo: 61, status: 'succeeded' },
    { what: 'just now, but failed', minutesAgo: 0, status: 'failed' },
    { what: 'just now, but was aborted', minutesAgo: 0, status: 'aborted' },
  ])(
    'a full pass runs when the last one was $what, by an hourly schedule',
    async ({ minutesAgo, status }, context) => {
      const { sql, start, lastFullPass } = await open(context)
      await lastFullPass(minutesAgo, status)
      start({ full: hourly })
      const rows = await ledgerUntil(sql, (found) => ended(found, 'full').length >= 2)
      expect(rows.at(-1)).toMatchObject({ pass: 'full', trigger: 'start', status: 'succeeded' })
    },
  )

  test.concurrent('a full pass runs when there was none, and fills the table', async (context) => {
    const { world, sql, start } = await open(context)
    start({ full: hourly })
    await ledgerUntil(sql, (rows) => ended(rows, 'full').length > 0)
    expect(await world.rows()).toEqual(world.wanted())
  })

  test.concurrent.for(['succeeded', 'partial', 'withheld'])(
    'none runs when one has %s within the hour',
    async (status, context) => {
      const { sql, start, lastFullPass } = await open(context)
      await lastFullPass(59, status)
      start({ full: hourly, incremental: everySecond })
      const rows = await ledgerUntil(sql, (found) => ended(found, 'incremental').length >= 1)
      expect(rows.map((row) => row.trigger)).not.toContain('start')
    },
  )

  test.concurrent('two workers that start together run one between them', async (context) => {
    const { sql, start, stop } = await open(context)
    start({ full: hourly }, { waits: quick })
    start({ full: hourly }, { waits: quick })
    await ledgerUntil(sql, (rows) => ended(rows, 'full').length > 0)
    await stop()
    expect(await ledgerOf(sql)).toMatchObject([{ trigger: 'start', status: 'succeeded' }])
  })
})

describe('a failed run', () => {
  test.concurrent.for([
    { what: 'Clerk cannot answer', kind: 503 },
    { what: 'Clerk refuses the key', kind: 401 },
    { what: 'Clerk answers nonsense', kind: 'object' },
  ] as const)('leaves the next tick its turn: $what', async ({ kind }, context) => {
    const { world, sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    world.sandbox.faults.add({ endpoint: 'list', kind, times: 3 })
    start({ full: hourly, incremental: everySecond }, { sync: { limits: impatient } })
    const rows = await ledgerUntil(sql, (found) =>
      found.some((row) => row.trigger === 'schedule' && row.status === 'succeeded'),
    )
    expect(rows.filter((row) => row.trigger === 'schedule')[0]?.status).toBe(
      kind === 401 ? 'refused' : 'failed',
    )
  })

  test.concurrent('leaves the next tick its turn: Postgres ends the connections', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    const { said } = start({ full: hourly, incremental: everySecond })
    await ledgerUntil(sql, (rows) => ended(rows, 'incremental').length >= 1)
    await sql`
      select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`
    const [before] = await sql<{ count: number }[]>`select count(*)::int from clerk_sync.runs`
    await ledgerUntil(sql, (rows) => ended(rows, 'incremental').length > (before?.count ?? 0) + 1)
    expect(said).not.toContain('error')
  })

  test.concurrent('does not count as the tick of another worker', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    await sql`
      insert into clerk_sync.runs (pass, trigger, status, instance_id, host, finished_at)
      select 'full', 'schedule', status, 'ins_1', 'another', now() from unnest(array['failed', 'aborted']) status`
    start({ full: '*/2 * * * * *' })
    const rows = await ledgerUntil(sql, (found) => bySchedule(found).length >= 3, 4)
    expect(rows.at(-1)).toMatchObject({ pass: 'full', trigger: 'schedule' })
  })
})

describe('turns', () => {
  test.concurrent('a full pass that outlasts its ticks does not pile up', async (context) => {
    const { world, sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    // Two pages and five other requests.
    world.sandbox.latencyMs = 350
    const { said } = start({ full: everySecond })
    await ledgerUntil(sql, (rows) => bySchedule(rows).filter(isEnded).length >= 2)
    world.sandbox.latencyMs = 0
    const rows = bySchedule(await ledgerOf(sql))
    const [first, second] = rows
    expect((first?.finishedAt ?? 0) - (first?.startedAt ?? 0)).toBeGreaterThan(1500)
    // What fell due meanwhile is not made up for, one behind the other.
    expect(rows.length).toBeLessThanOrEqual(3)
    expect(second?.startedAt).toBeGreaterThanOrEqual(first?.finishedAt ?? Number.NaN)
    expect(said).toContain('a tick passed while the pass before it was still under way')
  })

  test.concurrent('where both fall due together the full pass runs and the incremental does not', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    start({ full: '*/2 * * * * *', incremental: '*/2 * * * * *' })
    const rows = await ledgerUntil(sql, (found) => bySchedule(found).filter(isEnded).length >= 2)
    expect(new Set(bySchedule(rows).map((row) => row.pass))).toEqual(new Set(['full']))
  })

  test.concurrent('a full pass gets its turn however busy the incremental ones keep the worker', async (context) => {
    const { world, sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    world.sandbox.latencyMs = 300
    // On a slow machine the passes may take so long that only rest between two full ones leaves room for the others.
    start({ full: '*/5 * * * * *', incremental: everySecond }, { waits: quick })
    const rows = await ledgerUntil(
      sql,
      (found) =>
        bySchedule(ended(found, 'full')).length >= 2 && bySchedule(ended(found, 'incremental')).length >= 1,
      60,
    )
    expect(rows.filter((row) => !['succeeded', 'running'].includes(row.status))).toEqual([])
  })

  test.concurrent('every tick of an uneven schedule runs, also the last before a long rest', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(0)
    const second = (new Date().getUTCSeconds() + 2) % 60
    const seconds = [0, 2, 4].map((offset) => (second + offset) % 60)
    start({ full: `${seconds.join(',')} * * * * *` }, { waits: quick })
    await ledgerUntil(sql, (rows) => bySchedule(ended(rows, 'full')).length === 3, 20)
  })
})

describe('the lease of another process', () => {
  test.concurrent('a full pass that is due waits for it, asks Clerk nothing meanwhile, and then runs', async (context) => {
    const { world, sql, start, holdLease } = await open(context)
    const release = await holdLease()
    const { looks } = start({ full: hourly }, { waits: quick })
    await until(looks, (count) => count >= 5)
    expect(world.sandbox.requests).toHaveLength(0)
    await release()
    const rows = await ledgerUntil(sql, (found) => found.length === 2 && found.every(isEnded))
    expect(rows[1]).toMatchObject({ pass: 'full', trigger: 'start', status: 'succeeded' })
  })

  test.concurrent('a holder that falls silent holds it no longer', async (context) => {
    const { sql, start, holdLease } = await open(context)
    await holdLease()
    await sql`update clerk_sync.runs set heartbeat_at = now() - interval '31 seconds'`
    start({ full: hourly }, { waits: quick })
    const rows = await ledgerUntil(sql, (found) => found.length === 2 && found.every(isEnded))
    expect(rows.map((row) => row.status)).toEqual(['abandoned', 'succeeded'])
  })

  test.concurrent('a full pass gives its turn up in the end, says so, and takes the next one', async (context) => {
    const { sql, start, lastFullPass, holdLease } = await open(context)
    await lastFullPass(1)
    const release = await holdLease()
    const waits = { leaseWaitMs: 50, leasePollMs: 10 }
    const { said } = start({ full: everySecond }, { waits })
    await until(
      () => said.filter((line) => line.startsWith('another run held the lease')).length,
      (count) => count >= 2,
    )
    expect(bySchedule(await ledgerOf(sql))).toEqual([])
    await release()
    await ledgerUntil(sql, (rows) => bySchedule(ended(rows, 'full')).length > 0)
  })

  test.concurrent('an incremental pass never waits for it, and does not start while a full pass waits', async (context) => {
    const { world, sql, start, lastFullPass, holdLease } = await open(context)
    await lastFullPass(120)
    const release = await holdLease()
    start({ full: hourly, incremental: everySecond }, { waits: quick })
    // The full pass of the start waits. Two ticks of the other go by.
    const from = Date.now()
    await until(
      () => Date.now() - from,
      (passed) => passed > 2100,
    )
    expect(world.sandbox.requests.filter(({ endpoint }) => endpoint === 'instance')).toHaveLength(1)
    await release()
    const rows = await ledgerUntil(sql, (found) => ended(found, 'incremental').length > 0)
    expect(bySchedule(rows)[0]?.startedAt).toBeGreaterThan(
      ended(rows, 'full').at(-1)?.finishedAt ?? Number.NaN,
    )
  })

  test.concurrent('a tick that finds it taken is skipped and costs one request', async (context) => {
    const { world, sql, start, lastFullPass, holdLease } = await open(context)
    await lastFullPass(1)
    const before = world.sandbox.requests.length
    const release = await holdLease()
    start({ full: hourly, incremental: everySecond })
    await until(
      () => world.sandbox.requests.length - before,
      (count) => count >= 2,
    )
    expect(new Set(world.sandbox.requests.slice(before).map(({ endpoint }) => endpoint))).toEqual(
      new Set(['instance']),
    )
    await release()
    await ledgerUntil(sql, (rows) => ended(rows, 'incremental').length > 0)
  })
})

describe('two workers', () => {
  const noOverlap = (rows: LedgerRow[]) => {
    for (const [index, row] of rows.slice(1).entries()) {
      expect(row.startedAt).toBeGreaterThanOrEqual(rows[index]?.finishedAt ?? Number.NaN)
    }
  }

  test.concurrent('whose looks at the ledger coincide run a tick once all the same', async (context) => {
    const { world, sql, lastFullPass } = await open(context)
    await lastFullPass(1)
    // Both have looked, and neither has begun: what counts is who takes the lease first, even if it is free again.
    const tick = { passes: ['full', 'incremental'], seconds: 30 }
    const asked = { pass: 'incremental', trigger: 'schedule', tick } as const
    expect((await world.sync(asked)).report.status).toBe('succeeded')
    expect((await world.sync(asked)).report).toMatchObject({
      status: 'skipped',
      runId: null,
      error: { kind: 'busy' },
    })
    expect(bySchedule(await ledgerOf(sql))).toHaveLength(1)
    // Neither does a run of the command line take the turn, nor a tick of another schedule, nor one of long ago.
    expect((await world.sync({ pass: 'incremental' })).report.status).toBe('succeeded')
    const full = { pass: 'full', trigger: 'schedule', tick: { passes: ['full'], seconds: 30 } } as const
    expect((await world.sync(full)).report.status).toBe('succeeded')
    await sql`update clerk_sync.runs set started_at = now() - interval '31 seconds'`
    expect((await world.sync(asked)).report.status).toBe('succeeded')
  })

  test.concurrent('run each tick once, however close together they meet it', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    // Fast, so that the second one could run after the first within the same tick.
    for (let worker = 0; worker < 3; worker++) start({ incremental: '*/2 * * * * *' }, { waits: quick })
    const rows = await ledgerUntil(sql, (found) => ended(found, 'incremental').length >= 3)
    noOverlap(rows)
    const ticks = bySchedule(rows).map((row) => Math.round(row.startedAt / 2000))
    expect(ticks).toEqual([...new Set(ticks)])
  })

  test.concurrent('run each tick once though their clocks are a second apart', async (context) => {
    const { sql, start, lastFullPass } = await open(context)
    await lastFullPass(1)
    start({ incremental: '0-59/4 * * * * *' })
    start({ incremental: '1-59/4 * * * * *' })
    const rows = await ledgerUntil(sql, (found) => ended(found, 'incremental').length >= 3)
    const ticks = bySchedule(rows).map((row) => Math.floor(row.startedAt / 4000))
    expect(ticks).toEqual([...new Set(ticks)])
  })
})
