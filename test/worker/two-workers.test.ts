// Two worker processes on one database: what they do together is what one would do alone.
import { expect, test } from 'vitest'
import { openShopForTest } from '../cli/command.ts'
import { type LedgerRow, ledgerUntil, startWorker } from './workers.ts'

test('over many ticks no two passes overlap, each tick is run once, and both schedules are served', async (context) => {
  const shop = await openShopForTest(context, { count: 600 })
  await shop.run(['sync'])
  // Each pass takes a good part of a tick, so that the other worker meets it.
  shop.sandbox.latencyMs = 60
  const env = { INCREMENTAL_SCHEDULE: '*/2 * * * * *', FULL_SCHEDULE: '*/6 * * * * *', LOG_LEVEL: 'debug' }
  const workers = await Promise.all([startWorker(shop, env), startWorker(shop, env)])
  const scheduled = (rows: LedgerRow[]) => rows.filter(({ trigger }) => trigger === 'schedule')
  // Users come and go meanwhile, so that the passes have something to do.
  const churn = setInterval(() => shop.sandbox.users.create(), 500)
  context.onTestFinished(() => clearInterval(churn))
  await ledgerUntil(shop.database.sql, (rows) => scheduled(rows).length >= 8)
  clearInterval(churn)
  expect(await Promise.all(workers.map((worker) => worker.stop()))).toMatchObject([{ code: 0 }, { code: 0 }])
  const rows = scheduled(
    await ledgerUntil(shop.database.sql, (found) => found.every(({ finishedAt }) => finishedAt)),
  )
  for (const [index, row] of rows.slice(1).entries()) {
    expect(row.startedAt).toBeGreaterThanOrEqual(rows[index]?.finishedAt ?? Number.NaN)
  }
  const ticks = rows.map(({ startedAt }) => Math.floor(startedAt / 2000))
  expect(ticks).toEqual([...new Set(ticks)])
  for (const pass of ['full', 'incremental']) expect(rows.map((row) => row.pass)).toContain(pass)
  // The one that was stopped last may have had its last run aborted.
  expect(new Set(rows.slice(0, -1).map(({ status }) => status))).toEqual(new Set(['succeeded']))
})
