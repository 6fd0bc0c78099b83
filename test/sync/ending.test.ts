// How a run ends where something it waits for does not: behind the app's locks, behind a Postgres that only reads, and
// with requests of its own still under way.
import { afterEach, expect, test } from 'vitest'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { SyncError } from '../../src/errors.ts'
import { exitCodeOf } from '../../src/sync/report.ts'
import { createGate } from '../support/gate.ts'
import { createWorld, type World } from '../support/world.ts'

let world: World
afterEach(() => world.close())

const noFlags = { detailedExitcode: false, skipIfRunning: false }
const hourMs = 3600_000
const stopped = () => new SyncError('aborted', 'stopped by a signal', { facts: { signal: 'SIGTERM' } })

/** A transaction of the app's that has run the statement and goes on until it is let go. */
async function holdApp(statement: string): Promise<() => Promise<void>> {
  const [held, done] = [createGate(), createGate()]
  const app = world.database.connect().begin(async (tx) => {
    await tx.unsafe(statement)
    held.open()
    await done.opened
  })
  await held.opened
  return async () => {
    done.open()
    await app
  }
}

const isWaitingForLock = async () => {
  const waiting = await world.database.sql`
    select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
  return waiting.length > 0
}

test.each([
  ['a lock on the whole table', 'lock table users in access exclusive mode', false],
  ['another’s migration', 'select pg_advisory_xact_lock(7163371136806975353)', true],
])('behind %s a run ends once it is stopped, and says so', async (_what, statement, empty) => {
  world = await createWorld({ users: seedUsers({ count: 20, seed: 3 }), empty })
  const release = await holdApp(statement)
  const stop = new AbortController()
  const run = world.sync({ stop })
  await expect.poll(isWaitingForLock, { timeout: 20_000 }).toBe(true)
  stop.abort(stopped())
  const outcome = await run
  expect(outcome.report).toMatchObject({ status: 'aborted', counts: { created: 0 } })
  expect(exitCodeOf(outcome, noFlags)).toBe(143)
  await release()
  expect((await world.sync()).report).toMatchObject({ status: 'succeeded', counts: { created: 20 } })
})

test('a primary whose setting lets it only read is wrong configuration, since no waiting mends it', async () => {
  world = await createWorld({ users: seedUsers({ count: 20, seed: 3 }) })
  await world.sync()
  const name = new URL(world.database.url).pathname.slice(1)
  await world.database.sql.unsafe(`alter database ${name} set default_transaction_read_only = on`)
  const outcome = await world.sync()
  expect(outcome.report.error).toMatchObject({ kind: 'configuration' })
  expect(exitCodeOf(outcome, noFlags)).toBe(78)
})

test('no request goes out after the run has ended', async () => {
  world = await createWorld({ users: seedUsers({ count: 200, seed: 3 }) })
  await world.sync()
  world.sandbox.clock.advance(hourMs)
  for (const { id } of world.sandbox.users.all().slice(0, 100)) world.sandbox.users.delete(id)
  world.sandbox.faults.add({ endpoint: 'user', kind: 500, times: Number.POSITIVE_INFINITY })
  const { report } = await world.sync({ approveDeletes: 100 })
  expect(report).toMatchObject({ status: 'failed', error: { kind: 'transient' }, counts: { deleted: 0 } })
  const asked = () => world.sandbox.requests.length
  const then = asked()
  // Eight at once, each with its tries: whatever went on would be heard long before the next run is over.
  world.sandbox.faults.clear()
  const next = await world.sync({ approveDeletes: 100 })
  expect(asked() - then).toBe(next.report.requests.total)
  expect(next.report).toMatchObject({ status: 'succeeded', counts: { deleted: 100 } })
})
