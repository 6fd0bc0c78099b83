// Months of a worker in seconds: what the command does for each tick, two hundred times in one process.
import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { openCommandDatabase } from '../../src/cli/database.ts'
import { runsOf } from '../../src/cli/worker.ts'
import { loadConfig } from '../../src/config/config.ts'
import { seedUsers } from '../../src/dev/sandbox/seed.ts'
import { logTo } from '../../src/log.ts'
import { createWorld } from '../support/world.ts'

test('200 passes leave neither listeners nor connections behind, and warn of nothing', async (context) => {
  const world = await createWorld({ users: seedUsers({ count: 20, seed: 9 }) })
  context.onTestFinished(world.close)
  await world.sync()
  const env = {
    CLERK_SECRET_KEY: world.sandbox.secretKey,
    CLERK_API_URL: world.sandbox.url,
    CLERK_REQUESTS_PER_10S: '1000',
    DATABASE_URL: world.database.url,
  }
  const config = loadConfig(env, import.meta.dirname)
  const database = await openCommandDatabase(config.database, undefined, () => {})
  context.onTestFinished(() => database.close(1))
  const warnings: string[] = []
  const onWarning = ({ name }: Error) => void warnings.push(name)
  process.on('warning', onWarning)
  context.onTestFinished(() => void process.off('warning', onWarning))
  const lifetime = new AbortController()
  const run = runsOf(config, database, logTo({ write() {} }, 'info'), lifetime.signal)
  const connections = async () => {
    const [row] = await world.database.sql<{ count: number }[]>`
      select count(*)::int from pg_stat_activity where datname = current_database()`
    return row?.count
  }
  const once = async () => {
    const tick = { passes: ['incremental'], seconds: 0 }
    const { report } = await run({ pass: 'incremental', trigger: 'schedule', tick })
    expect(report).toMatchObject({ pass: 'incremental', status: 'succeeded' })
    return { connections: await connections(), timers: process.getActiveResourcesInfo().length }
  }
  const first = await once()
  let last = first
  for (let pass = 1; pass < 200; pass++) last = await once()
  expect(last.connections).toBeLessThanOrEqual((first.connections ?? 0) + 2)
  // Sockets that the HTTP client keeps are few; a leak would be hundreds.
  expect(last.timers).toBeLessThanOrEqual(first.timers + 20)
  expect(getEventListeners(lifetime.signal, 'abort')).toHaveLength(0)
  expect(warnings).toEqual([])
})
