// The heartbeat of a run: when it beats, what a lost lease does, and that it ends with the run.
import pino from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { readClock } from '../../src/db/clock.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { keepLease, takeLease } from '../../src/sync/lease.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { startSilentProxy } from '../support/silent-proxy.ts'

let testDatabase: TestDatabase
let database: Database
let lines: string[]
const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase(testDatabase.url, { connections: 1 })
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})
beforeEach(async () => {
  lines = []
  await testDatabase.sql`truncate clerk_sync.runs`
  // Only the heart's own timer: Postgres goes on in real time.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const run = { pass: 'full', trigger: 'cli', instanceId: 'ins_1', approveDeletes: null }
/** A run whose last heartbeat was 20 seconds ago, and its heart. */
const start = async (db: Database = database) => {
  const { runId } = await takeLease(database, run, log)
  await testDatabase.sql`update clerk_sync.runs set heartbeat_at = now() - interval '20 seconds'`
  const stop = new AbortController()
  return { stop, heart: keepLease(db, runId, stop, log) }
}
const silentForSeconds = async () => {
  const [row] = await testDatabase.sql<{ seconds: number }[]>`
    select extract(epoch from now() - heartbeat_at)::float8 as seconds from clerk_sync.runs`
  return row?.seconds
}
test('a run beats after five seconds, and not before', async () => {
  const { stop } = await start()
  vi.advanceTimersByTime(4999)
  expect(await silentForSeconds()).toBeGreaterThan(19)
  vi.advanceTimersByTime(1)
  await expect.poll(silentForSeconds).toBeLessThan(19)
  expect(stop.signal.aborted).toBe(false)
})

test('no beat follows the end of a run', async () => {
  const { heart } = await start()
  heart.release()
  vi.advanceTimersByTime(60_000)
  // Whatever had been sent would be answered before this.
  await readClock(database.db)
  expect(await silentForSeconds()).toBeGreaterThan(19)
})

test('a beat that is never answered holds up neither the next one nor the end of the run', async () => {
  const proxy = await startSilentProxy(testDatabase.url)
  const far = openDatabase(proxy.url, { connections: 2 })
  await readClock(far.db)
  const { heart, stop } = await start(far)
  proxy.silence()
  vi.advanceTimersByTime(5000)
  vi.advanceTimersByTime(5000)
  await expect.poll(silentForSeconds).toBeLessThan(19)
  heart.release()
  await far.close(0)
  proxy.close()
  expect(stop.signal.aborted).toBe(false)
})

test('a lease that is lost aborts the run with that very reason', async () => {
  const { stop } = await start()
  await testDatabase.sql`update clerk_sync.runs set status = 'abandoned'`
  vi.advanceTimersByTime(5000)
  await expect.poll(() => stop.signal.reason).toMatchObject({ kind: 'busy', facts: { lost: 'lease' } })
})

test('a beat that does not get through is logged, and the run goes on', async () => {
  const away = openDatabase('postgres://nobody@127.0.0.1:1/none', { connections: 1 })
  const { stop } = await start(away)
  vi.advanceTimersByTime(5000)
  await expect.poll(() => lines.join('')).toContain('a heartbeat did not get through')
  await away.close()
  expect(stop.signal.aborted).toBe(false)
})
