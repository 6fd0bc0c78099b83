// Clerk or Postgres away, at start and later: what the worker answers meanwhile, and that it needs no restart.
import { expect, test } from 'vitest'
import { openShopForTest, type Shop } from '../cli/command.ts'
import { send } from '../support/endpoint.ts'
import { layWire, ledgerUntil, startWorker, until, type WorkerProcess } from './workers.ts'

const always = Number.POSITIVE_INFINITY

function deliver(shop: Shop, worker: WorkerProcess, name: string) {
  const user = shop.sandbox.users.create({ first_name: name, last_name: 'Goldberg' })
  const { headers, body } = shop.sandbox.webhook('user.created', user)
  return { id: user.id, answer: send(worker.port, { headers, body }) }
}

const statusOf = (worker: WorkerProcess, path: string) => worker.get(path).then(({ status }) => status)
const readyStatus = (worker: WorkerProcess, status: number) =>
  until(
    () => statusOf(worker, '/readyz'),
    (found) => found === status,
  )

test.concurrent('on a new database it is alive at once, and ready once Clerk has said which instance it is', async (context) => {
  const shop = await openShopForTest(context, { count: 5, empty: true })
  const down = shop.sandbox.faults.add({ endpoint: 'instance', kind: 503, times: always })
  const worker = await startWorker(shop)
  await worker.logged('listening')
  expect(await worker.get('/healthz')).toMatchObject({ status: 200, body: { status: 'ok' } })
  expect(await worker.get('/readyz')).toMatchObject({ status: 503, body: { missing: ['migrations'] } })
  expect((await deliver(shop, worker, 'Adele').answer).status).toBe(503)
  down.remove()
  await readyStatus(worker, 200)
  expect(await deliver(shop, worker, 'Barbara').answer).toMatchObject({
    status: 200,
    body: { result: 'created' },
  })
  expect((await worker.stop()).code).toBe(0)
})

test.concurrent('a table that is bound takes webhooks at once though Clerk is down at start, and passes follow later', async (context) => {
  const shop = await openShopForTest(context, { count: 5 })
  await shop.run(['sync'])
  const down = shop.sandbox.faults.add({ endpoint: 'any', kind: 503, times: always })
  const worker = await startWorker(shop, { INCREMENTAL_SCHEDULE: '* * * * * *' })
  await worker.logged('listening')
  await readyStatus(worker, 200)
  const { id, answer } = deliver(shop, worker, 'Frances')
  expect((await answer).status).toBe(200)
  expect((await shop.rows()).get(id)?.name).toBe('Frances Goldberg')
  expect(worker.lines('the table is ready')).toEqual([])
  down.remove()
  await worker.logged('run finished')
  expect((await worker.stop()).code).toBe(0)
})

test.concurrent('stays ready and takes webhooks while Clerk is down, and its passes recover', async (context) => {
  const shop = await openShopForTest(context, { count: 5 })
  await shop.run(['sync'])
  const worker = await startWorker(shop, { INCREMENTAL_SCHEDULE: '* * * * * *' })
  await worker.logged('run finished')
  shop.sandbox.faults.add({ endpoint: 'any', kind: 401, times: always })
  await worker.logged('run failed', 2)
  expect(await statusOf(worker, '/readyz')).toBe(200)
  expect((await deliver(shop, worker, 'Jean').answer).status).toBe(200)
  shop.sandbox.faults.clear()
  await worker.logged('run finished', worker.lines('run finished').length + 1)
  expect((await worker.stop()).code).toBe(0)
})

test.concurrent('Postgres goes away and comes back: 503 meanwhile, then webhooks and passes go on', async (context) => {
  const shop = await openShopForTest(context, { count: 5 })
  await shop.run(['sync'])
  const wire = await layWire(shop.database.url)
  context.onTestFinished(wire.close)
  const worker = await startWorker(shop, { DATABASE_URL: wire.url, INCREMENTAL_SCHEDULE: '* * * * * *' })
  await worker.logged('run finished')
  expect(await statusOf(worker, '/readyz')).toBe(200)

  await wire.cut()
  // An outage in which webhooks keep coming: each is told to come again, without a long wait for it.
  const answers: { status: number; tookMs: number }[] = []
  const failed = worker.lines('run failed').length + worker.lines('a tick failed').length
  await until(
    async () => {
      const from = performance.now()
      const { status } = await deliver(shop, worker, 'Betty').answer
      answers.push({ status, tookMs: performance.now() - from })
      return worker.lines('run failed').length + worker.lines('a tick failed').length
    },
    (count) => count >= failed + 2 && answers.length >= 80,
  )
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]))
  // Svix gives up after 15 s; a probe mostly after 1.
  expect(Math.max(...answers.map(({ tookMs }) => tookMs))).toBeLessThan(3000)
  expect(await worker.get('/readyz')).toMatchObject({ status: 503, body: { missing: ['postgres'] } })
  expect(await statusOf(worker, '/healthz')).toBe(200)

  await wire.mend()
  const from = performance.now()
  await readyStatus(worker, 200)
  const { id, answer } = deliver(shop, worker, 'Ida')
  expect((await answer).status).toBe(200)
  expect(performance.now() - from).toBeLessThan(5000)
  expect((await shop.rows()).has(id)).toBe(true)
  const rows = (await shop.database.sql<{ id: number }[]>`select max(id)::int as id from clerk_sync.runs`)[0]
  await ledgerUntil(shop.database.sql, (found) =>
    found.some((row) => row.id > (rows?.id ?? 0) && row.status === 'succeeded'),
  )
  // Also those that were told to come again: a pass brought them.
  await until(shop.rows, (found) => found.size === shop.wanted().size)
  expect((await worker.stop()).code).toBe(0)
})

test.concurrent('Postgres away at start: it waits, alive and not ready, and begins when it can', async (context) => {
  const shop = await openShopForTest(context, { count: 5 })
  const wire = await layWire(shop.database.url)
  context.onTestFinished(wire.close)
  await wire.cut()
  const worker = await startWorker(shop, { DATABASE_URL: wire.url, FULL_SCHEDULE: '0 0 1 1 *' })
  await worker.logged('not ready yet')
  expect(await statusOf(worker, '/healthz')).toBe(200)
  expect(await worker.get('/readyz')).toMatchObject({ status: 503, body: { missing: ['postgres'] } })
  await wire.mend()
  await worker.logged('run finished')
  expect(await shop.rows()).toEqual(shop.wanted())
  expect((await worker.stop()).code).toBe(0)
})
