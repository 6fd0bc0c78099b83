// What keeps a worker from working at all is said at start, by name, and nothing has been written.
import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { openShopForTest, snapshot } from '../cli/command.ts'
import { ledgerOf, portOf, startWorker } from './workers.ts'

test.concurrent('a port that is taken is named', async (context) => {
  const shop = await openShopForTest(context, { count: 3, empty: true })
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  context.onTestFinished(() => void other.close())
  const before = await snapshot(shop.database.sql)
  const port = portOf(other)
  const worker = await startWorker(shop, { PORT: `${port}` })
  const { code, stderr } = await worker.ended
  expect(code).toBe(78)
  expect(stderr).toContain(`port ${port} on 127.0.0.1 is taken`)
  expect(stderr).toContain('such as PORT=3100')
  expect(stderr).toContain('Set PORT')
  expect(await snapshot(shop.database.sql)).toEqual(before)
})

test.concurrent.for([
  {
    what: 'an address of another machine',
    env: { HOST: '192.0.2.1' },
    said: 'on 192.0.2.1 cannot be listened on',
  },
  {
    what: 'a name that is none',
    env: { HOST: 'no-such-host.invalid' },
    said: 'on no-such-host.invalid cannot be',
  },
  {
    what: 'a schedule that is none',
    env: { FULL_SCHEDULE: '99 * * * *' },
    said: 'FULL_SCHEDULE is not a schedule',
  },
  { what: 'a wrong key', env: { CLERK_SECRET_KEY: 'sk_test_notTheRightOne' }, said: 'CLERK_SECRET_KEY' },
])('$what: exit 78 with a message, and nothing is written', async ({ env, said }, context) => {
  const shop = await openShopForTest(context, { count: 3, empty: true })
  const before = await snapshot(shop.database.sql)
  const worker = await startWorker(shop, env)
  const { code, stderr } = await worker.ended
  expect(code).toBe(78)
  expect(stderr).toContain(said)
  expect(await snapshot(shop.database.sql)).toEqual(before)
})

test.concurrent('a key of another instance: exit 78, and the table is as it was', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  await shop.run(['sync'])
  const before = await snapshot(shop.database.sql)
  shop.sandbox.faults.add({ endpoint: 'instance', kind: 'another-instance', times: Number.POSITIVE_INFINITY })
  const worker = await startWorker(shop, { FULL_SCHEDULE: '* * * * * *' })
  const { code, stderr } = await worker.ended
  expect(code).toBe(78)
  expect(stderr).toContain('--accept-instance')
  expect(await snapshot(shop.database.sql)).toEqual(before)
})

test.concurrent('an odd answer of a proxy does not end it where the table is bound: it takes webhooks and looks again', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  await shop.run(['sync'])
  shop.sandbox.faults.add({ endpoint: 'instance', kind: 'html', times: Number.POSITIVE_INFINITY })
  const worker = await startWorker(shop, {})
  await worker.logged('ready, but the instance is not confirmed yet')
  const { headers, body } = shop.sandbox.webhook('user.created', shop.sandbox.users.create())
  const url = `http://127.0.0.1:${worker.port}/api/users/webhook`
  expect((await fetch(url, { method: 'POST', headers, body })).status).toBe(200)
  shop.sandbox.faults.clear()
  await worker.logged('the table is ready')
  expect((await worker.stop()).code).toBe(0)
})

test.concurrent('without a signing secret it says so and answers webhooks with 503', async (context) => {
  const shop = await openShopForTest(context, { count: 3 })
  const worker = await startWorker(shop, { CLERK_WEBHOOK_SIGNING_SECRET: '' })
  await worker.logged('the table is ready')
  expect(
    worker.lines().some(({ msg, level }) => level === 'warn' && msg.includes('CLERK_WEBHOOK_SIGNING_SECRET')),
  ).toBe(true)
  const { headers, body } = shop.sandbox.webhook('user.created', shop.sandbox.users.create())
  const answer = await fetch(`http://127.0.0.1:${worker.port}/api/users/webhook`, {
    method: 'POST',
    headers,
    body,
  })
  expect(answer.status).toBe(503)
  expect((await worker.stop()).code).toBe(0)
  expect(await ledgerOf(shop.database.sql)).toEqual([])
})
