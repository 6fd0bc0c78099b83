// One run at a time, and what becomes of a run that is stopped: by the command line's word, the ledger and the rows.
import { expect, test } from 'vitest'
import { createGate } from '../support/gate.ts'
import { openShopForTest, reportOf, type Shop } from './command.ts'

const npmRun = ['npm', 'run', '--silent']
/** More than a page, so that a run can be met with one page written and another to come. */
const users = 700

/** Holds the run under way at its first list request after a page was written. */
function holdAfterFirstPage(shop: Shop): { reached: Promise<void>; release: () => void } {
  const reached = createGate()
  const released = createGate()
  shop.sandbox.onRequest = async ({ endpoint }) => {
    if (endpoint !== 'list') return
    const [written] = await shop.database.sql`select from users limit 1`
    if (written === undefined) return
    reached.open()
    await released.opened
  }
  return {
    reached: reached.opened,
    release() {
      shop.sandbox.onRequest = undefined
      released.open()
    },
  }
}

async function runsOf(shop: Shop): Promise<string[]> {
  const rows = await shop.database.sql<{ status: string }[]>`select status from clerk_sync.runs order by id`
  return rows.map((row) => row.status)
}

async function countOf(shop: Shop): Promise<number> {
  const [row] = await shop.database.sql<{ count: number }[]>`select count(*)::int from users`
  return row?.count ?? 0
}

/** Runs once more, now that nothing is in the way. */
async function expectNextRunToConverge(shop: Shop): Promise<void> {
  const ended = await shop.run(['sync', '--json'])
  expect(ended.code).toBe(0)
  expect(await shop.rows()).toEqual(shop.wanted())
}

test.concurrent('of eight at once on a new database one runs, the others say so, and the table equals Clerk', async (context) => {
  const shop = await openShopForTest(context, { count: 60, empty: true })
  const released = createGate()
  shop.sandbox.onRequest = async ({ endpoint }) => {
    if (endpoint === 'list') await released.opened
  }
  let over = 0
  const flags = [[], ['--skip-if-running']]
  const commands = Array.from({ length: 8 }, async (_, index) => {
    const skips = index % 2 === 1
    const command = [...npmRun, 'sync', '--', '--json', ...(flags[index % 2] ?? [])]
    const ended = await shop.project.start(command, shop.env).ended
    over += 1
    // The one that runs waits for the others to give up.
    if (over === 7) released.open()
    return { skips, code: ended.code, report: reportOf(ended) }
  })
  const ended = await Promise.all(commands)
  const ran = ended.filter(({ report }) => report.status === 'succeeded')
  expect(ran).toMatchObject([{ code: 0, report: { counts: { seen: 60, created: 60 } } }])
  const others = ended.filter(({ report }) => report.status !== 'succeeded')
  for (const { skips, code, report } of others) {
    expect({ code, status: report.status, runId: report.runId }).toEqual({
      code: skips ? 0 : 75,
      status: 'skipped',
      runId: null,
    })
  }
  expect(await runsOf(shop)).toEqual(['succeeded'])
  expect(await shop.rows()).toEqual(shop.wanted())
})

test.concurrent.for([
  { signal: 'SIGTERM', code: 143 },
  { signal: 'SIGINT', code: 130 },
] as const)(
  '$signal in the middle ends the run in good order with $code',
  async ({ signal, code }, context) => {
    const shop = await openShopForTest(context, { count: users })
    const hold = holdAfterFirstPage(shop)
    const running = shop.start(['sync', '--json'])
    await hold.reached
    running.child.kill(signal)
    const ended = await running.ended
    hold.release()
    expect(ended.code).toBe(code)
    const written = await countOf(shop)
    expect(written).toBeGreaterThan(0)
    expect(written).toBeLessThan(users)
    expect(reportOf(ended)).toMatchObject({
      status: 'aborted',
      counts: { created: written },
      error: { kind: 'aborted', hint: expect.stringContaining('next run') },
    })
    expect(await runsOf(shop)).toEqual(['aborted'])
    await expectNextRunToConverge(shop)
  },
)

test.concurrent('SIGTERM reaches the run through npm, and its exit code comes back', async (context) => {
  const shop = await openShopForTest(context, { count: users })
  const hold = holdAfterFirstPage(shop)
  const running = shop.project.start([...npmRun, 'sync', '--', '--json'], shop.env)
  await hold.reached
  running.child.kill('SIGTERM')
  const ended = await running.ended
  hold.release()
  expect(ended.code).toBe(143)
  expect(reportOf(ended).status).toBe('aborted')
  expect(await runsOf(shop)).toEqual(['aborted'])
})

test.concurrent('one Ctrl-C under npm, which arrives twice, still ends the run in good order', async (context) => {
  const shop = await openShopForTest(context, { count: users })
  const hold = holdAfterFirstPage(shop)
  const running = shop.project.start([...npmRun, 'sync', '--', '--json'], shop.env)
  await hold.reached
  // A terminal signals the whole group; npm gets it too, and forwards it.
  process.kill(-(running.child.pid ?? 0), 'SIGINT')
  const ended = await running.ended
  hold.release()
  // npm passes 130 on, or now and then dies of the signal itself: what counts is the run's own end.
  expect([130, null]).toContain(ended.code)
  expect(reportOf(ended).status).toBe('aborted')
  expect(await runsOf(shop)).toEqual(['aborted'])
})

test.concurrent.for([
  { second: 'SIGTERM', code: 143 },
  { second: 'SIGINT', code: 130 },
] as const)('a second signal ($second) ends the process at once', async ({ second, code }, context) => {
  const shop = await openShopForTest(context, { count: users })
  const hold = holdAfterFirstPage(shop)
  const running = shop.start(['sync', '--json'])
  await hold.reached
  // Somebody holds the run's row: a stop in good order would wait for it.
  const holder = shop.database.connect()
  const held = createGate()
  const letGo = createGate()
  const holding = holder.begin(async (sql) => {
    await sql`select from clerk_sync.runs for update`
    held.open()
    await letGo.opened
  })
  await held.opened
  running.child.kill('SIGINT')
  await running.said('stopping')
  const insisting = setInterval(() => running.child.kill(second), 50)
  const ended = await running.ended
  clearInterval(insisting)
  letGo.open()
  await holding
  hold.release()
  expect(ended).toMatchObject({ code, stdout: '' })
  expect(await runsOf(shop)).toEqual(['running'])
})

test.concurrent('after SIGKILL the next run waits out 30 s of silence, marks the run abandoned and converges', async (context) => {
  const shop = await openShopForTest(context, { count: users })
  const hold = holdAfterFirstPage(shop)
  const running = shop.start(['sync', '--json'])
  await hold.reached
  running.child.kill('SIGKILL')
  expect((await running.ended).code).toBeNull()
  hold.release()

  const tooEarly = await shop.run(['sync', '--json'])
  expect(tooEarly.code).toBe(75)
  expect(reportOf(tooEarly).status).toBe('skipped')
  await shop.database.sql`update clerk_sync.runs set heartbeat_at = now() - interval '15 seconds'`
  expect((await shop.run(['sync'])).code).toBe(75)
  await shop.database.sql`update clerk_sync.runs set heartbeat_at = now() - interval '31 seconds'`
  await expectNextRunToConverge(shop)
  expect(await runsOf(shop)).toEqual(['abandoned', 'succeeded'])
})
