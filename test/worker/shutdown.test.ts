// The end of a worker: whatever it is doing when the signal comes, nothing that it answered for is lost, and it is over
// before an orchestrator kills.
import { once } from 'node:events'
import { Agent } from 'node:http'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { openShopForTest, type Shop } from '../cli/command.ts'
import { send } from '../support/endpoint.ts'
import { freePort, layWire, ledgerOf, portOf, startWorker, until, type WorkerProcess } from './workers.ts'

/** Orchestrators kill after 10 s. */
const inTimeMs = 10_000
const hourly = { FULL_SCHEDULE: '0 0 1 1 *' }

/** Until a full pass is in the middle of Clerk's pages. */
async function passUnderWay(shop: Shop): Promise<void> {
  await until(
    () => shop.sandbox.requests.filter(({ endpoint }) => endpoint === 'list').length,
    (count) => count >= 3,
  )
}

/** Sends deliveries over kept connections, one after the other on each, until there is no answer. */
function deliverContinuously(shop: Shop, worker: WorkerProcess, senders: number) {
  const answered = new Map<string, number>()
  const sending = Array.from({ length: senders }, async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      for (;;) {
        const user = shop.sandbox.users.create({ first_name: 'Grace', last_name: 'Hopper' })
        const delivery = shop.sandbox.webhook('user.created', user)
        const { status } = await send(worker.port, { headers: delivery.headers, body: delivery.body, agent })
        answered.set(user.id, status)
      }
    } catch {
      // FailedWrites or cut off: no answer, so the delivery will be repeated.
    } finally {
      agent.destroy()
    }
  })
  return { answered, ended: Promise.all(sending) }
}

test.concurrent('SIGTERM under load: every delivery answered with 200 is in the table, the run is aborted, the lease free', async (context) => {
  const shop = await openShopForTest(context, { count: 4000, latencyMs: 250 })
  const worker = await startWorker(shop, hourly)
  await worker.logged('the table is ready')
  const load = deliverContinuously(shop, worker, 6)
  await passUnderWay(shop)
  await until(
    () => load.answered.size,
    (count) => count >= 100,
  )
  const { code, tookMs } = await worker.stop()
  await load.ended
  expect(code).toBe(0)
  expect(tookMs).toBeLessThan(inTimeMs)
  // A sender that never lets go of its connection does not hold up the end.
  expect(tookMs).toBeLessThan(5000)
  expect(worker.lines('what was still under way is cut off')).toEqual([])
  const accepted = [...load.answered].flatMap(([id, status]) => (status === 200 ? [id] : []))
  expect(accepted.length).toBeGreaterThanOrEqual(100)
  const rows = await shop.rows()
  expect(accepted.filter((id) => !rows.has(id))).toEqual([])
  expect(await ledgerOf(shop.database.sql)).toMatchObject([{ trigger: 'start', status: 'aborted' }])
  // The next run is not kept waiting.
  expect((await shop.run(['sync'])).code).toBe(0)
  expect(await shop.rows()).toEqual(shop.wanted())
})

test.concurrent('a delivery whose row is locked when the signal comes is still answered', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  const worker = await startWorker(shop)
  await shop.run(['sync'])
  await worker.logged('the table is ready')
  const [user] = shop.sandbox.users.all()
  const changed = shop.sandbox.users.update(user?.id ?? '', { first_name: 'Katherine', last_name: 'Johnson' })
  const { headers, body } = shop.sandbox.webhook('user.updated', changed)
  let stopping: ReturnType<WorkerProcess['stop']> | undefined
  let answering: ReturnType<typeof send> | undefined
  await shop.database.connect().begin(async (tx) => {
    await tx`select from users where clerk_id = ${changed.id} for update`
    answering = send(worker.port, { headers, body })
    await until(
      () =>
        shop.database
          .sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
      (waiting) => waiting.length > 0,
    )
    stopping = worker.stop()
    await worker.logged('stopping')
  })
  expect(await answering).toMatchObject({ status: 200, body: { result: 'updated' } })
  expect(await stopping).toMatchObject({ code: 0 })
  expect((await shop.rows()).get(changed.id)?.name).toBe('Katherine Johnson')
})

test.concurrent('a second signal ends it at once', async (context) => {
  const shop = await openShopForTest(context, { count: 1500, latencyMs: 250 })
  const worker = await startWorker(shop, hourly)
  await passUnderWay(shop)
  await shop.database.connect().begin(async (tx) => {
    // Somebody holds the run's row: an orderly end would wait for it.
    await tx`select from clerk_sync.runs for update`
    worker.child.kill('SIGTERM')
    await worker.logged('stopping')
    const insisting = setInterval(() => worker.child.kill('SIGTERM'), 100)
    const { code } = await worker.ended
    clearInterval(insisting)
    expect(code).toBe(143)
  })
})

test.concurrent('SIGTERM during start while Clerk hangs', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  shop.sandbox.faults.add({ endpoint: 'instance', kind: 'hang', times: Number.POSITIVE_INFINITY })
  const worker = await startWorker(shop, hourly)
  await until(
    () => shop.sandbox.requests.length,
    (count) => count > 0,
  )
  const { code, tookMs } = await worker.stop()
  expect(code).toBe(0)
  expect(tookMs).toBeLessThan(5000)
})

test.concurrent('SIGTERM during start while Postgres is away', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  const url = new URL(shop.env.DATABASE_URL ?? '')
  url.port = `${await freePort()}`
  const worker = await startWorker(shop, { ...hourly, DATABASE_URL: url.href })
  await worker.logged('not ready yet')
  const { code, tookMs } = await worker.stop()
  expect(code).toBe(0)
  expect(tookMs).toBeLessThan(5000)
})

test.concurrent('SIGTERM during start while Postgres takes connections and says nothing', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  const silent = createServer((socket) => void socket.on('error', () => {})).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  context.onTestFinished(() => void silent.close())
  const connected = once(silent, 'connection')
  const url = new URL(shop.env.DATABASE_URL ?? '')
  url.port = `${portOf(silent)}`
  const worker = await startWorker(shop, { ...hourly, DATABASE_URL: url.href })
  await connected
  const { code, tookMs } = await worker.stop()
  expect(code).toBe(0)
  expect(tookMs).toBeLessThan(inTimeMs)
})

test.concurrent('SIGTERM while Postgres has fallen silent under a pass and a webhook', async (context) => {
  const shop = await openShopForTest(context, { count: 1500, latencyMs: 200 })
  const wire = await layWire(shop.database.url)
  context.onTestFinished(wire.close)
  const worker = await startWorker(shop, { ...hourly, DATABASE_URL: wire.url })
  await passUnderWay(shop)
  wire.hang()
  const delivery = shop.sandbox.webhook('user.created', shop.sandbox.users.create())
  const answer = send(worker.port, { headers: delivery.headers, body: delivery.body }).catch(() => undefined)
  const before = shop.sandbox.requests.length
  await until(
    () => shop.sandbox.requests.length,
    // It cannot come further than the page in hand.
    (count) => count <= before + 2,
  )
  const { code, tookMs } = await worker.stop()
  expect(code).toBe(0)
  expect(tookMs).toBeLessThan(inTimeMs)
  expect((await answer)?.status).not.toBe(200)
})
