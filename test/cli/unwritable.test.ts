// Commands whose output nobody can take: a full disk, a reader that has gone. They do their work and end with their own
// exit code, and what was lost is said once.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { send } from '../support/endpoint.ts'
import { freePort, until } from '../worker/workers.ts'
import { compiledClerkSync, linesOf, openShopForTest, type Shop } from './command.ts'

/** `clerk-sync` in a shell that leads its output elsewhere. */
async function startLed(shop: Shop, led: string, args: readonly string[], env: Record<string, string> = {}) {
  const command = [...(await compiledClerkSync()), ...args]
  return shop.project.start(['bash', '-c', `set -o pipefail; "$@" ${led}`, 'bash', ...command], {
    ...shop.env,
    ...env,
  })
}

const lossIn = (stderr: string) =>
  linesOf(stderr).filter(({ msg }) => msg === 'the log on stdout cannot be written')

describe.runIf(existsSync('/dev/full')).concurrent('where the disk is full', () => {
  test('a sync finishes, exits with 0 and says so once on stderr', async (context) => {
    const shop = await openShopForTest(context, { count: 12 })
    const ended = await (await startLed(shop, '>/dev/full', ['sync'])).ended
    expect(ended.code).toBe(0)
    expect(await shop.rows()).toEqual(shop.wanted())
    expect(lossIn(ended.stderr)).toMatchObject([{ level: 'error', code: 'ENOSPC' }])
    expect(linesOf(ended.stderr)).toHaveLength(1)
  })

  test('a sync whose report and log both cannot be written finishes too', async (context) => {
    const shop = await openShopForTest(context, { count: 12 })
    const ended = await (await startLed(shop, '>/dev/full 2>&1', ['sync', '--json'])).ended
    expect(ended.code).toBe(0)
    expect(await shop.rows()).toEqual(shop.wanted())
    const told = await (await startLed(shop, '>/dev/full', ['sync', '--json'])).ended
    expect(told.code).toBe(0)
    expect(told.stderr).toContain('stdout cannot be written (ENOSPC)')
  })

  test('a command that fails keeps its exit code', async (context) => {
    const shop = await openShopForTest(context, { count: 12 })
    const wrong = { CLERK_SECRET_KEY: 'pk_test_Vt5nCx1wHj6d' }
    expect((await (await startLed(shop, '2>/dev/full', ['sync'], wrong)).ended).code).toBe(78)
    expect((await (await startLed(shop, '>/dev/full 2>&1', ['sync', '--nothing'])).ended).code).toBe(64)
  })

  test('a worker writes webhooks and answers them with 200', async (context) => {
    const shop = await openShopForTest(context, { count: 12 })
    const port = await freePort()
    const running = await startLed(shop, '>/dev/full', ['worker'], {
      PORT: `${port}`,
      FULL_SCHEDULE: 'off',
      CLERK_WEBHOOK_SIGNING_SECRET: shop.sandbox.webhookSecret,
    })
    const ready = () => send(port, { method: 'GET', path: '/readyz' }).catch(() => undefined)
    await until(ready, (answer) => answer?.status === 200)
    const user = shop.sandbox.users.create()
    const { headers, body } = shop.sandbox.webhook('user.created', user)
    expect(await send(port, { headers, body })).toMatchObject({ status: 200, body: { result: 'created' } })
    expect((await shop.rows()).has(user.id)).toBe(true)
    process.kill(-(running.child.pid ?? 0), 'SIGTERM')
    const ended = await running.ended
    expect(lossIn(ended.stderr)).toHaveLength(1)
  })
})

test('a reader that goes after the first line does not keep a sync from finishing', async (context) => {
  const shop = await openShopForTest(context, { count: 700 })
  for (const led of ['| head -n 1', '2>&1 | head -c 1']) {
    const ended = await (await startLed(shop, led, ['sync'])).ended
    expect(ended.code).toBe(0)
  }
  expect(await shop.rows()).toEqual(shop.wanted())
})

test('a log that can be written again says how many lines it lost, each line whole', async (context) => {
  const shop = await openShopForTest(context, { count: 12 })
  // A file that may not grow is a small full disk. It is full in the middle of a line, and has room again later.
  await shop.project.write(
    'limited.ts',
    `import { truncateSync } from 'node:fs'
     import { createLog } from './src/log.ts'
     const log = createLog({ level: 'info', destination: 'stdout', pretty: false })
     for (let i = 0; i < 100; i += 1) log.info({ i }, 'before')
     truncateSync('log', 200)
     log.info('after')`,
  )
  const limited = `trap '' XFSZ; ulimit -f 1; exec ${process.execPath} --import tsx limited.ts >>log`
  const ended = await shop.project.start(['bash', '-c', limited], {}).ended
  expect(ended.code).toBe(0)
  const lines = readFileSync(join(shop.project.directory, 'log'), 'utf8').trim().split('\n')
  const [lost, after] = lines.slice(-2).map((line) => JSON.parse(line))
  expect(after).toMatchObject({ msg: 'after' })
  expect(lost).toMatchObject({ level: 'warn', msg: 'log lines could not be written' })
  expect(lost.lost).toBeGreaterThan(80)
  expect(lost.lost).toBeLessThan(100)
})
